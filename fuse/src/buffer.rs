//! One buffer per thread for the bytes of replies: fresh memory of 1 MiB costs more than the copy into it.

use std::cell::RefCell;

/// The kernel's largest read, unless somebody raised `fs.fuse.max_pages_limit`.
const USUAL: usize = 1 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; USUAL]);
}

/// Lends this thread's buffer, cut to `len` bytes of anything. May not be nested.
pub(crate) fn lend<T>(len: u32, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let len = len as usize;
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        work(&mut buffer[..len])
    })
}
