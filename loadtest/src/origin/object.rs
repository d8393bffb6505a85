use std::fmt::Display;

use herring_blob::ByteRange;

use crate::random::Content;

/// An object of the measured origin. Its key says what it is, so the origin keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// The directory that it is in.
    pub directory: u64,
    pub number: u64,
    pub size: u64,
}

impl Object {
    /// `d7/12-65536`; `None` where a key is not of that form.
    pub fn parse(key: &str) -> Option<Self> {
        let (directory, name) = key.split_once('/')?;
        let (number, size) = name.split_once('-')?;
        let object = Self { directory: parse_directory(directory)?, number: number.parse().ok()?, size: size.parse().ok()? };
        // One object has one key: `d07/+1-5` is none.
        (object.key() == key).then_some(object)
    }

    pub fn key(&self) -> String {
        format!("d{}/{}-{}", self.directory, self.number, self.size)
    }

    pub fn etag(&self) -> String {
        format!("\"{}-{}-{}\"", self.directory, self.number, self.size)
    }

    pub fn content(&self, seed: u64) -> Content {
        Content::derived(seed, &[self.directory, self.number])
    }

    pub fn all(&self) -> ByteRange {
        ByteRange::new(0, self.size)
    }
}

pub fn parse_directory(name: &str) -> Option<u64> {
    let number = name.strip_prefix('d')?.parse().ok()?;
    (format!("d{number}") == name).then_some(number)
}

/// What nginx's `autoindex_format json` says of a directory of `entries` objects.
pub fn index(entries: u64, modified: impl Display) -> String {
    let row = |number: u64| {
        let size = number + 1;
        format!(r#"{{ "name":"{number}-{size}", "type":"file", "mtime":"{modified}", "size":{size} }}"#)
    };
    format!("[\n{}\n]\n", (0..entries).map(row).collect::<Vec<_>>().join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_its_object_is() {
        let object = Object { directory: 7, number: 12, size: 65_536 };
        assert_eq!(object.key(), "d7/12-65536");
        assert_eq!(Object::parse("d7/12-65536"), Some(object));
        for other in ["d7", "d7/", "7/12-1", "d07/12-1", "d7/12", "d7/+12-1", "d7/12-1/"] {
            assert_eq!(Object::parse(other), None, "{other}");
        }
        assert_eq!((parse_directory("d0"), parse_directory("d"), parse_directory("d00")), (Some(0), None, None));
    }

    #[test]
    fn an_index_is_json_of_objects_that_there_are() {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&index(3, "never")).unwrap();
        assert_eq!((rows.len(), &rows[2]["name"], &rows[2]["size"]), (3, &"2-3".into(), &3.into()));
        assert!(Object::parse(&format!("d1/{}", rows[1]["name"].as_str().unwrap())).is_some());
    }
}
