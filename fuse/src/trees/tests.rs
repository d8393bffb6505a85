use std::time::UNIX_EPOCH;

use fuser::FileType;
use herring_blob::{Mark, Tree, TreeEntry, TreeKind};

use super::*;
use crate::error::FsError;
use crate::found::Found;

const BIG: u64 = 3 << 20;

fn entry(path: &str, kind: TreeKind) -> TreeEntry {
    TreeEntry { path: path.into(), mode: 0o640, modified_ns: 7, kind }
}

fn directory(path: &str) -> TreeEntry {
    entry(path, TreeKind::Directory { directory: Mark })
}

fn file(path: &str, offset: u64, size: u64) -> TreeEntry {
    entry(path, TreeKind::File { blob: 0, offset, size })
}

/// `seed` makes it another tree.
fn root(name: &str, seed: u8) -> Root {
    let link = entry("d/l", TreeKind::Link { target: "../a".into() });
    let entries = vec![
        directory(""),
        file("a", 5, 10),
        directory("d"),
        directory("d/e"),
        file("d/e/x", 15, 1),
        link,
        file("d-", 16, 2),
        file("z", 0, BIG),
        file("ü", 0, 0),
    ];
    let tree = Tree::new(vec![BlobId::of(&[seed])], entries).unwrap();
    Root { name: name.into(), open: Arc::new(OpenTree { id: BlobId::of(&tree.encode()), tree }) }
}

fn names(branch: &Branch, offset: u64) -> Vec<(u64, String)> {
    branch.list(offset).map(|(next, name, _)| (next, name.to_owned())).collect()
}

fn branch(found: Result<Found, FsError>) -> Branch {
    match found.unwrap() {
        Found::Branch(branch) => branch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tree_is_known_until_all_of_it_is_forgotten() {
    let trees = Trees::default();
    let root = root("m", 1);
    let top = trees.plant(&root);
    let file = branch(top.find("a"));
    file.tree().count();
    assert_eq!(trees.get(file.ino()).unwrap().entry().path, "a");
    assert!(trees.find(root.open.id).is_some());
    assert!(trees.forget(top.ino(), 1));
    assert!(trees.get(file.ino()).is_some());
    assert!(trees.forget(file.ino(), 1));
    assert!(trees.get(file.ino()).is_none() && trees.find(root.open.id).is_none());
    assert!(trees.forget(file.ino(), 1), "it would be harmless");
    assert!(!trees.forget(17, 1), "this is no entry of a tree");
}

#[test]
fn numbers_are_the_same_every_time_and_others_for_another_name_or_tree() {
    let (here, there) = (Trees::default(), Trees::default());
    there.plant(&root("other", 1));
    assert_eq!(here.plant(&root("m", 1)).ino(), there.plant(&root("m", 1)).ino());
    let inos: std::collections::HashSet<_> =
        [("m", 1), ("n", 1), ("m", 2)].map(|(name, seed)| here.plant(&root(name, seed)).ino()).into();
    assert_eq!(inos.len(), 3);
    assert!(inos.iter().all(|ino| *ino >= FIRST_OF_TREES));
}

#[test]
fn trees_whose_numbers_overlap_are_told_apart() {
    let trees = Trees::default();
    let (one, two) = (root("m", 1), root("n", 2));
    let first = one.ino();
    // As if `two` had the numbers in the middle of which those of `one` begin.
    trees.write().insert(first - 3, Arc::new(Planted::new(first - 3, two.clone())));
    let top = trees.plant(&one);
    assert_eq!(top.ino(), first - 3 + two.len());
    assert_eq!(trees.plant(&one).ino(), top.ino());
    assert_eq!(trees.get(top.ino() - 1).unwrap().tree().root.name, "n");
    assert_eq!(trees.get(top.ino()).unwrap().tree().root.name, "m");
}

#[test]
fn a_directory_is_listed_from_anywhere() {
    let trees = Trees::default();
    let top = trees.plant(&root("m", 1));
    let all = names(&top, 0);
    let plain: Vec<_> = all.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(plain, [".", "..", "a", "d", "d-", "z", "ü"]);
    for (at, (next, _)) in all.iter().enumerate() {
        assert_eq!(names(&top, *next), all[at + 1..], "from {next}");
    }
    assert_eq!(names(&top, u64::MAX), []);
    let inner = branch(top.find("d"));
    let found: Vec<_> = inner.list(0).map(|(_, name, found)| (name.to_owned(), found.kind(), found.ino())).collect();
    assert_eq!(found[0].2, inner.ino());
    assert_eq!(found[1].2, top.ino());
    assert_eq!(
        found[2..].iter().map(|(name, kind, _)| (name.as_str(), *kind)).collect::<Vec<_>>(),
        [("e", FileType::Directory), ("l", FileType::Symlink)]
    );
    let (_, _, above) = top.list(0).nth(1).unwrap();
    assert_eq!(above.ino(), crate::place::NAMES);
}

#[test]
fn entries_are_found_by_their_names_only() {
    let trees = Trees::default();
    let top = trees.plant(&root("m", 1));
    let inner = branch(top.find("d"));
    assert_eq!((inner.links(), branch(inner.find("e")).links(), branch(top.find("a")).links()), (3, 2, 1));
    assert_eq!(branch(inner.find("l")).target().unwrap().to_str(), Some("../a"));
    assert!(matches!(branch(top.find("a")).target(), Err(FsError::NotALink)));
    for name in ["", ".", "..", "d/e", "/a", "A", "nothing"] {
        assert!(matches!(top.find(name), Err(FsError::NoEntry)), "{name:?}");
    }
    assert!(matches!(branch(top.find("a")).find("x"), Err(FsError::NotADirectory)));
}

#[test]
fn a_large_file_is_the_same_under_every_name() {
    let trees = Trees::default();
    let one = trees.plant(&root("m", 1)).find("z").unwrap();
    let other = trees.plant(&root("n", 1)).find("z").unwrap();
    let (Found::Node(one), Found::Node(other)) = (one, other) else { panic!("they have inodes of their own") };
    assert_eq!((one.ino, &one.place), (other.ino, &other.place));
    assert_eq!((one.size, one.mode(), one.modified), (BIG, 0o640, UNIX_EPOCH + std::time::Duration::from_nanos(7)));
    assert!(one.ino < FIRST_OF_TREES);
}

/// With so many directories in the first directory, each with as many in it as its number's last digit says.
fn wide(many: usize) -> Root {
    let mut entries = vec![directory(""), directory("all")];
    for n in 0..many {
        entries.push(directory(&format!("all/{n}")));
        entries.extend((0..n % 10).map(|inner| directory(&format!("all/{n}/{inner}"))));
    }
    let tree = Tree::new(Vec::new(), entries).unwrap();
    Root { name: "wide".into(), open: Arc::new(OpenTree { id: BlobId::of(&tree.encode()), tree }) }
}

/// Ends soon only if directories are not counted anew for each.
#[test]
fn links_are_counted_once_however_many_directories_there_are() {
    let top = Trees::default().plant(&wide(20_000));
    let all = branch(top.find("all"));
    for n in 0..20_000 {
        assert_eq!((top.links(), all.links()), (3, 20_002));
        let one = branch(all.find(&n.to_string()));
        assert_eq!(one.links(), 2 + n % 10, "{n}");
    }
    assert_eq!(branch(branch(all.find("19")).find("8")).links(), 2);
}

#[tokio::test]
async fn the_trees_that_nobody_used_for_longest_are_taken_back_where_there_are_too_many() {
    let [old, used, new, last] = [("a/old", 1), ("used", 2), ("b/c/new", 3), ("last", 4)].map(|(name, seed)| root(name, seed));
    let trees = Trees::new(2 * old.weight());
    trees.plant(&old);
    trees.plant(&used);
    assert_eq!(trees.oldest(), []);
    trees.plant(&used);
    trees.plant(&new);
    assert_eq!(trees.crowded().await, [(Place::Names { prefix: "a".into() }.ino(), "old".to_owned())]);
    assert_eq!(trees.oldest(), [], "it was told");
    assert!(trees.get(old.ino()).is_some(), "something of it may be open");
    trees.plant(&old);
    assert_eq!(trees.crowded().await, [(crate::place::NAMES, "used".to_owned())]);
    trees.plant(&last);
    assert_eq!(trees.crowded().await, [(Place::Names { prefix: "b/c".into() }.ino(), "new".to_owned())]);
}

#[test]
fn one_tree_may_be_as_large_as_it_is() {
    let trees = Trees::new(1);
    trees.plant(&root("m", 1));
    assert_eq!(trees.oldest(), []);
    trees.plant(&root("n", 1));
    assert_eq!(trees.oldest(), [(crate::place::NAMES, "m".to_owned())]);
}

#[test]
fn an_entry_is_small() {
    // A hundred thousand of them that the kernel knows cost nothing; this is what one costs for the time of a request.
    assert!(size_of::<Branch>() <= 16);
}
