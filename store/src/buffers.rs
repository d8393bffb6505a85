use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bytes of each: what is read at once, and handed on as one.
pub(crate) const SIZE: usize = 1 << 20;
/// How many are kept that nobody uses: those of some chunks on their way to peers, 16 MiB.
const KEPT: usize = 16;

/// Buffers that are used again. A fresh one must be zeroed, and its pages are often faulted in: an eighth of the processor that
/// serving a chunk out of the page cache takes, client and server together (0.75 instead of 0.86 CPU-s/GB).
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// One of them; goes back when it is dropped, as bytes with the last of their clones.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer for `len` bytes, in which anything may stand. Smaller ones than these are made as they are needed: who is slow to take
    /// little must not hold much.
    pub fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let used = if fits(len) { self.free().pop() } else { None };
        let bytes = used.unwrap_or_else(|| vec![0; if fits(len) { SIZE } else { len }]);
        Buffer { bytes, len, home: Arc::clone(self) }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A push or a pop leaves the list whole, whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fits(len: usize) -> bool {
    len > SIZE / 2 && len <= SIZE
}

impl Buffer {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.home.free();
        if bytes.len() == SIZE && free.len() < KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_the_last_of_its_bytes_is_dropped() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take(SIZE - 1);
        first.bytes_mut().fill(7);
        let bytes = first.freeze();
        let part = bytes.slice(..1);
        assert_eq!((bytes.len(), &bytes[SIZE - 2..]), (SIZE - 1, &[7][..]));
        drop(bytes);
        assert_eq!(buffers.free().len(), 0, "a part of it is still in use");
        let at = part.as_ptr();
        drop(part);
        assert_eq!(buffers.take(SIZE).as_ref().as_ptr(), at);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let buffers = Arc::new(Buffers::default());
        drop((0..KEPT * 2).map(|_| buffers.take(SIZE)).collect::<Vec<_>>());
        assert_eq!(buffers.free().len(), KEPT);
        assert_eq!(buffers.take(SIZE / 2).bytes.len(), SIZE / 2, "a small one holds no more than it must");
        assert_eq!(buffers.free().len(), KEPT);
    }
}
