use proptest::prelude::*;

use super::*;

fn entry(path: &str, kind: TreeKind) -> TreeEntry {
    TreeEntry { path: path.into(), mode: 0o644, modified_ns: 1_700_000_000_123_456_789, kind }
}

fn directory(path: &str) -> TreeEntry {
    entry(path, TreeKind::Directory { directory: Mark })
}

fn file(path: &str, offset: u64, size: u64) -> TreeEntry {
    entry(path, TreeKind::File { blob: 0, offset, size })
}

fn link(path: &str, target: &str) -> TreeEntry {
    entry(path, TreeKind::Link { target: target.into() })
}

fn tree(entries: Vec<TreeEntry>) -> Result<Tree, TreeError> {
    Tree::new(vec![BlobId::of(b"pack")], entries)
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let at = tree.find(path).unwrap();
    tree.children(at).map(|child| tree.entries()[child].name().to_owned()).collect()
}

#[test]
fn what_is_below_a_directory_follows_it() {
    // In plain byte order `a-b` would come between `a` and `a/x`.
    let tree =
        tree(vec![file("a/x", 0, 1), file("a-b", 1, 1), directory("a"), directory(""), directory("a/y"), link("a/y/l", "../x")]);
    let tree = tree.unwrap();
    let paths: Vec<_> = tree.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["", "a", "a/x", "a/y", "a/y/l", "a-b"]);
    assert_eq!(
        (names(&tree, ""), names(&tree, "a"), names(&tree, "a/y")),
        (vec!["a".into(), "a-b".into()], vec!["x".into(), "y".into()], vec!["l".into()])
    );
    assert_eq!(names(&tree, "a/x"), [""; 0]);
    assert_eq!(tree.find("a/z"), None);
    assert_eq!(tree.size(), 2);
}

#[test]
fn impossible_entries_are_refused() {
    let long = "n".repeat(256);
    for wrong in [
        file("/a", 0, 1),
        file("a/", 0, 1),
        file("..", 0, 1),
        file("a\0", 0, 1),
        file("missing/a", 0, 1),
        file(&long, 0, 1),
        file("a", u64::MAX, 1),
        file("a", 0, 1 << 63),
        file("a", i64::MAX.cast_unsigned(), 1),
        file("a", 1, 0),
        link("a", ""),
        TreeEntry { mode: 0o10000, ..directory("a") },
        entry("a", TreeKind::File { blob: 1, offset: 0, size: 1 }),
    ] {
        let error = tree(vec![directory(""), wrong.clone()]).unwrap_err();
        assert!(matches!(error, TreeError::Entry { .. }), "{wrong:?}");
    }
    assert!(tree(vec![file("a", 0, 1)]).is_err(), "no root");
    assert!(tree(vec![directory(""), file("a", 0, 1), file("a", 0, 1)]).is_err(), "twice");
    assert!(tree(vec![directory(""), file("a", 0, 1), file("a/b", 0, 1)]).is_err(), "a file is no directory");
}

#[test]
fn bytes_of_anyone_are_checked() {
    let bytes = tree(vec![directory(""), file("a", 0, 1)]).unwrap().encode();
    assert!(bytes.starts_with(Tree::MAGIC.as_bytes()));
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(Tree::decode(b"{\"other\":1}"), Err(TreeError::NotATree));
    assert_eq!(Tree::decode(text.replace("{\"tree\":1", "{\"tree\":2").as_bytes()), Err(TreeError::Version { found: 2 }));
    assert!(matches!(Tree::decode(text.replace("\"p\":\"a\"", "\"p\":\"../a\"").as_bytes()), Err(TreeError::Entry { .. })));
    assert!(matches!(Tree::decode(text.replace("\"d\":1", "\"d\":0").as_bytes()), Err(TreeError::Line { line: 2, .. })));
    assert!(matches!(Tree::decode(text.split_at(text.len() - 5).0.as_bytes()), Err(TreeError::Line { line: 3, .. })));
}

#[test]
fn a_size_that_no_number_holds_is_no_mistake() {
    let most = i64::MAX.cast_unsigned();
    let tree = tree(vec![directory(""), file("a", 0, most), file("b", 0, most), file("c", 0, most)]).unwrap();
    assert_eq!(tree.size(), u64::MAX);
}

#[test]
fn a_tree_of_too_many_lines_is_refused_unread() {
    let most = tree(vec![directory("")]).unwrap().encode();
    let lines = |more: usize| [&most[..], &vec![b'\n'; more]].concat();
    assert!(Tree::decode(&lines(Tree::MAX_ENTRIES - 1)).is_ok());
    assert_eq!(Tree::decode(&lines(Tree::MAX_ENTRIES)), Err(TreeError::TooLarge));
}

proptest! {
    #[test]
    fn a_tree_is_read_as_it_was_written(paths in prop::collection::btree_set("[a-c-]{1,2}(/[a-c-]{1,2}){0,2}", 0..20)) {
        let mut entries = vec![directory("")];
        for path in &paths {
            // A path that another continues is a directory.
            let inner = paths.iter().any(|other| is_below(other, path));
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|parent| !paths.contains(*parent));
            for parent in parents {
                if !entries.iter().any(|entry| entry.path == parent) {
                    entries.push(directory(parent));
                }
            }
            entries.push(if inner { directory(path) } else { file(path, 0, path.len() as u64) });
        }
        let tree = tree(entries).unwrap();
        let bytes = tree.encode();
        prop_assert_eq!(&Tree::decode(&bytes).unwrap(), &tree);
        prop_assert_eq!(bytes.len() as u64, tree.encoded_size());
        for (at, entry) in tree.entries().iter().enumerate() {
            prop_assert_eq!(tree.find(&entry.path), Some(at));
            let children: Vec<_> = tree.children(at).map(|child| tree.entries()[child].path.clone()).collect();
            let expected: Vec<_> = tree.entries().iter().filter(|other| {
                let parent = other.path.rsplit_once('/').map_or("", |(parent, _)| parent);
                !other.path.is_empty() && parent == entry.path
            }).map(|other| other.path.clone()).collect();
            prop_assert_eq!(children, expected);
        }
    }
}

/// Where what a tree says is written: below the directory, and never through something that is no directory of the tree.
fn is_harmless(tree: &Tree) -> bool {
    let is_directory = |path: &str| tree.entries().iter().any(|entry| entry.path == path && entry.is_directory());
    tree.entries().iter().filter(|entry| !entry.path.is_empty()).all(|entry| {
        let above = entry.path.match_indices('/').map(|(at, _)| &entry.path[..at]);
        let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
        std::path::Path::new(&entry.path).components().all(plain) && above.into_iter().all(is_directory)
    })
}

#[test]
fn what_lies_below_a_link_is_no_tree() {
    for (link_at, below) in [("a", "a/passwd"), ("a/b", "a/b/c")] {
        let entries = vec![directory(""), directory("a"), link(link_at, "/etc"), file(below, 0, 1)];
        let entries: Vec<_> = entries.into_iter().filter(|entry| entry.path != link_at || !entry.is_directory()).collect();
        assert!(tree(entries).is_err(), "{below}");
    }
    assert!(tree(vec![directory(""), directory("a"), link("a", "/etc"), file("a/passwd", 0, 1)]).is_err());
}

/// Trees of anyone: of entries that are likely to clash.
#[test]
fn fuzz_trees() {
    const PATHS: [&str; 16] =
        ["", "a", "b", "a/b", "a/b/c", "a-b", "..", "a/..", "a/../b", "/a", "a/", "a//b", ".", "a/.", "a\0", "\u{e9}"];
    bolero::check!().with_type::<Vec<(u8, u8, u64, u64)>>().with_iterations(4000).for_each(|picks| {
        let mut entries = vec![directory("")];
        entries.extend(picks.iter().take(6).map(|(path, kind, offset, size)| {
            let path = PATHS[usize::from(*path) % PATHS.len()];
            match kind % 4 {
                0 => directory(path),
                1 => link(path, ["/etc", "..", "x", ""][usize::from(*kind >> 2) % 4]),
                _ => file(path, *offset, *size),
            }
        }));
        let Ok(tree) = tree(entries) else { return };
        assert!(is_harmless(&tree));
        let bytes = tree.encode();
        assert_eq!(Tree::decode(&bytes).as_ref(), Ok(&tree));
        assert_eq!(bytes.len() as u64, tree.encoded_size());
    });
}

/// Bytes that are nearly a tree's.
#[test]
fn fuzz_tree_texts() {
    let valid =
        tree(vec![directory(""), directory("a"), file("a/x", 0, 1), link("a/y", "../x"), file("b", 1, 0x7fff)]).unwrap().encode();
    bolero::check!().with_type::<Vec<(u16, u8)>>().with_iterations(4000).for_each(|edits| {
        let mut bytes = valid.clone();
        for (at, byte) in edits.iter().take(6) {
            let at = usize::from(*at) % bytes.len();
            bytes[at] = if *byte < 128 { *byte } else { b"/.\n{}\",:019ab-"[usize::from(*byte) % 14] };
        }
        let Ok(tree) = Tree::decode(&bytes) else { return };
        assert!(is_harmless(&tree));
        assert_eq!(Tree::decode(&tree.encode()).as_ref(), Ok(&tree));
    });
}
