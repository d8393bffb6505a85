use std::fs::File;
use std::hint::black_box;
use std::io;

use memmap2::Mmap;

/// The smallest page: one byte of each is touched.
const PAGE: usize = 4096;

/// A file as memory.
pub struct Mapping(Mmap);

impl Mapping {
    pub fn of(file: &File) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "page faults of a mapping are what is measured, and there is no safe way to make one; \
            sound because blobs are immutable: nobody truncates or writes the file while it is mapped"
        )]
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(map))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Touches every page in order.
    pub fn touch(&self) {
        let sum = self.bytes().iter().step_by(PAGE).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        black_box(sum);
    }
}
