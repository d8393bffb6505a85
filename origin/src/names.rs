use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::error::Fault;
use crate::key::is_name;

/// The names of one directory, sorted: 8 bytes more than its letters for each.
pub(crate) struct Names {
    letters: String,
    /// Where each name is in the letters.
    spans: Vec<Range<u32>>,
}

impl Names {
    /// Reads a directory, of which all names must fit in `most` bytes. Names that no key can spell are left out.
    pub(crate) fn read(directory: &Path, most: usize) -> Result<Self, Fault> {
        let mut names = Self { letters: String::new(), spans: Vec::new() };
        for entry in fs::read_dir(directory)? {
            if let Some(name) = entry?.file_name().to_str().filter(|name| is_name(name)) {
                names.push(name)?;
            }
            if names.bytes() > most {
                return Err(Fault::Unusable(format!("its {} names and more take more than {most} bytes", names.len())));
            }
        }
        let Self { letters, spans } = &mut names;
        spans.sort_unstable_by_key(|span| text(letters, span));
        Ok(names)
    }

    fn push(&mut self, name: &str) -> Result<(), Fault> {
        let end = |names: &Self| u32::try_from(names.letters.len()).map_err(|error| Fault::Unusable(error.to_string()));
        let start = end(self)?;
        self.letters.push_str(name);
        self.spans.push(start..end(self)?);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.letters.capacity() + self.spans.capacity() * size_of::<Range<u32>>()
    }

    pub(crate) fn get(&self, at: usize) -> &str {
        text(&self.letters, &self.spans[at])
    }

    /// All from this position on.
    pub(crate) fn from(&self, at: usize) -> impl Iterator<Item = &str> {
        self.spans.iter().skip(at).map(|span| text(&self.letters, span))
    }

    /// The position of the first name behind `last`, which may be gone.
    pub(crate) fn behind(&self, last: &str) -> usize {
        self.spans.partition_point(|span| text(&self.letters, span) <= last)
    }
}

fn text<'a>(letters: &'a str, span: &Range<u32>) -> &'a str {
    &letters[span.start as usize..span.end as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        let root = tempfile::TempDir::new().unwrap();
        for name in ["b", "a", "ab", "new\nline", "鯡"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let names = Names::read(root.path(), 1 << 10).unwrap();
        assert_eq!(names.from(0).collect::<Vec<_>>(), ["a", "ab", "b", "鯡"]);
        assert_eq!((names.behind("a"), names.behind("aa"), names.behind("鯡"), names.behind("")), (1, 1, 4, 0));
        assert_eq!((names.get(1), names.from(3).count(), names.from(9).count()), ("ab", 1, 0));
        assert!(matches!(Names::read(root.path(), 10), Err(Fault::Unusable(_))));
    }
}
