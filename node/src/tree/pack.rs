use super::walk::{Kind, Walk};

/// From this size on a file is a blob of its own: shared with other trees that have it, and read without its neighbours.
const OWN: u64 = 1 << 20;
/// Bytes that small files share a blob up to. Of 20,000 files of 4 KiB there are two such, each fetched as a stream.
const PACK: u64 = 64 << 20;

/// What becomes one blob: a large file, or small ones one behind the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// Indices of the entries, in the order of their paths.
    pub files: Vec<usize>,
    /// Bytes.
    pub size: u64,
}

impl Parcel {
    fn add(&mut self, entry: usize, size: u64) {
        self.files.push(entry);
        self.size += size;
    }
}

/// All files but empty ones, each in one parcel. The same directory gives the same parcels.
pub fn parcels(walk: &Walk) -> Vec<Parcel> {
    let (mut done, mut pack) = (Vec::new(), Parcel::default());
    for (index, entry) in walk.entries.iter().enumerate() {
        let Kind::File(size @ 1..) = entry.kind else { continue };
        if size >= OWN {
            done.push(Parcel { files: vec![index], size });
            continue;
        }
        if pack.size + size > PACK {
            done.push(std::mem::take(&mut pack));
        }
        pack.add(index, size);
    }
    done.extend(Some(pack).filter(|pack| !pack.files.is_empty()));
    done
}
