//! Native reads.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use herring_fuse::Unmounted;

use crate::mounted::{Holder, Mounted, mounts, output, start, wait_until};
use crate::rig::{CHUNK, ORIGIN, pattern};

/// `None` where the store could not be bound: not everybody may mount.
fn native() -> Option<Mounted> {
    let mounted = Mounted::native()?;
    if mounts(&mounted.at.join(".local")).is_empty() {
        eprintln!("skipped: only root may bind");
        return None;
    }
    Some(mounted)
}

#[test]
fn whole_blobs_are_read_from_the_store() {
    let Some(mut mounted) = native() else { return };
    let bytes = pattern(3 * CHUNK as usize + 1, 15);
    let (_, path) = mounted.put(&bytes);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64);
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(output(Command::new("cat").arg(&path)) == bytes);
    let [bind] = &mounts(&mounted.at.join(".local"))[..] else { panic!("not bound once") };
    assert!(bind.contains(" ro,nosuid,nodev"), "{bind}");
    let listed: Vec<_> = fs::read_dir(&mounted.at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(listed, ["blobs", "names", "origins"]);
    mounted.rig.write("f", &bytes);
    let of_origin = mounted.at.join("origins").join(ORIGIN).join("f");
    assert!(fs::symlink_metadata(&of_origin).unwrap().is_file() && fs::read(&of_origin).unwrap() == bytes);
    // Not always cleanly: a child that another test is starting may have a copy of a file for a moment.
    assert_ne!(mounted.unmount(), Unmounted::Before);
    assert_eq!((mounts(&mounted.at), mounts(&mounted.at.join(".local"))), (vec![], vec![]));
}

#[test]
fn a_blob_that_is_deleted_under_an_open_native_file_stays_readable() {
    let Some(mut mounted) = native() else { return };
    let bytes = pattern(3 * CHUNK as usize + 1, 16);
    let (id, path) = mounted.put(&bytes);
    let open = File::open(&path).unwrap();
    mounted.runtime.block_on(mounted.rig.swarm.remove(id)).unwrap();
    wait_until("the deletion", || fs::symlink_metadata(&path).is_err());
    let read = |open: &File| {
        let mut buffer = vec![0; bytes.len()];
        open.read_exact_at(&mut buffer, 0).unwrap();
        assert!(buffer == bytes);
    };
    read(&open);
    assert_ne!(mounted.unmount(), Unmounted::Before);
    read(&open);
}

#[test]
fn what_a_crash_leaves_of_a_native_mount_is_cleared() {
    let Some(mut mounted) = native() else { return };
    assert_ne!(mounted.unmount(), Unmounted::Before);
    let (mut holder, path) = Holder::start(&mounted.at, true);
    assert!(fs::read(&path).unwrap() == pattern(100_000, 10));
    holder.kill();
    let both = |at: &Path| (mounts(at).len(), mounts(&at.join(".local")).len());
    assert_eq!(both(&mounted.at), (1, 1));
    mounted.mount = start(&mounted.at, true, &mounted.rig, &mounted.runtime);
    assert_eq!(both(&mounted.at), (1, 1));
    let (_, path) = mounted.put(&pattern(1000, 17));
    assert!(fs::read(&path).unwrap() == pattern(1000, 17));
    assert_ne!(mounted.unmount(), Unmounted::Before);
    assert_eq!(both(&mounted.at), (0, 0));
}
