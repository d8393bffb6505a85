//! The calls with which programs read ahead and copy.

use std::process::Command;

use herring_blob::BlobId;

use crate::mounted::{Mounted, output};
use crate::rig::{CHUNK, ORIGIN, pattern};

const SCRIPT: &str = r"
import ctypes, errno, hashlib, mmap, os, sys, tempfile
path, size = sys.argv[1], os.stat(sys.argv[1]).st_size
source = os.open(path, os.O_RDONLY)

def digest(copy):
    copy.seek(0)
    print(hashlib.sha256(copy.read()).hexdigest())

def drop():
    os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)

os.posix_fadvise(source, 0, 0, os.POSIX_FADV_WILLNEED)
digest(open(path, 'rb'))
drop()
libc = ctypes.CDLL(None, use_errno=True)
assert libc.readahead(source, ctypes.c_long(0), ctypes.c_size_t(size)) == 0, os.strerror(ctypes.get_errno())
digest(open(path, 'rb'))
drop()
with mmap.mmap(source, 0, prot=mmap.PROT_READ) as view:
    view.madvise(mmap.MADV_WILLNEED)
    print(hashlib.sha256(view).hexdigest())
drop()
with tempfile.TemporaryFile() as copy:
    sent = 0
    while sent < size:
        sent += os.sendfile(copy.fileno(), source, sent, size - sent)
    digest(copy)
drop()
with tempfile.TemporaryFile() as copy:
    try:
        copied = 0
        while copied < size:
            copied += os.copy_file_range(source, copy.fileno(), size - copied, copied, copied)
        digest(copy)
    except OSError as error:
        # What kernels since 5.19 say of any two filesystems of different types; programs then read and write.
        assert error.errno == errno.EXDEV, error
        copy.write(os.pread(source, size, 0))
        digest(copy)
";

#[test]
fn read_ahead_and_copies_give_the_right_bytes() {
    let Some(mounted) = Mounted::new() else { return };
    let bytes = pattern(20 * CHUNK as usize + 7, 14);
    let (id, blob) = mounted.put(&bytes);
    mounted.rig.write("f", &bytes);
    for path in [blob, mounted.at.join("origins").join(ORIGIN).join("f")] {
        let printed = String::from_utf8(output(Command::new("python3").args(["-c", SCRIPT]).arg(&path))).unwrap();
        assert_eq!(id, BlobId::of(&bytes));
        assert_eq!(printed.lines().collect::<Vec<_>>(), vec![id.to_string(); 5], "{path:?}");
    }
}
