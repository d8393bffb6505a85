//! What peers say, from peers that lie: the parsers of their headers and their JSON. How to run these for long: docs/adr/0028-hostile-input.md.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::peer::{Ballot, MetaCall, MetaQuestion, MetaReply, NameRecord, NameState, NamedRecord, NamesCall, NamesReply};
use crate::repair::{BlobParts, Bucket, BucketDigest, Compared, Fate, RepairCall, RepairReply};
use crate::types::{NodeUsage, Presence};

/// What can be read is what is written again: nothing is believed that was not said, and what cannot be is an error.
fn hold<T: Serialize + DeserializeOwned>(text: &[u8], check: impl Fn(&T)) {
    if let Ok(said) = serde_json::from_slice::<T>(text) {
        check(&said);
        let written = serde_json::to_vec(&said).expect("what was read can be written");
        let again: T = serde_json::from_slice(&written).expect("and read again");
        assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    }
}

fn is_presence(chunks: &Presence) {
    assert!(chunks.count() <= Presence::MOST.into());
    let first = chunks.chunks.first().map(|(start, _)| *start);
    assert!(first.is_none_or(|first| chunks.has(first)) && !chunks.has(u32::MAX));
}

fn are_parts(blobs: &[BlobParts]) {
    blobs.iter().for_each(|blob| is_presence(&blob.chunks));
}

fn are_buckets(buckets: &[Bucket]) {
    assert!(buckets.iter().all(|bucket| bucket.leaves().end <= Bucket::MOST && !bucket.leaves().is_empty()));
}

fn examples() -> Vec<Vec<u8>> {
    let id = herring_blob::BlobId::of(b"b");
    let parts = || vec![BlobParts { id, manifest: true, chunks: Presence::of([0, 1, 7]), replicas: Some(3), print: Some(7) }];
    let fates = || vec![Fate { id, deleted: true, at_ms: 1 << 40 }];
    let ballot = || Ballot { counter: 3, node: "n1".into() };
    let state = NameState { version: 2, target: Some(id), modified_ms: 5, changes: vec![uuid::Uuid::nil()] };
    let record = || NameRecord { ballot: ballot(), state: state.clone() };
    let question = || MetaQuestion::Key { origin: "m".into(), key: "a/b".into() };
    let json = |said: &dyn erased::Said| said.json();
    vec![
        json(&RepairCall::Offer { epoch: "e".into(), blobs: parts() }),
        json(&RepairCall::Seek { blobs: parts() }),
        json(&RepairCall::Fates { fates: fates(), buckets: vec![Bucket::ALL, Bucket::smallest(7)] }),
        json(&RepairCall::Compare {
            what: Compared::Kept,
            epoch: "e".into(),
            digests: vec![BucketDigest { bucket: Bucket::ALL, digest: "0".repeat(32) }],
        }),
        json(&RepairReply::Has { blobs: parts() }),
        json(&RepairReply::Differ { buckets: vec![Bucket::smallest(9)] }),
        json(&RepairReply::Fates { fates: fates() }),
        json(&NamesCall::List { prefix: "a".into(), after: None, limit: 500 }),
        json(&NamesCall::Prepare { name: "a".into(), ballot: ballot() }),
        json(&NamesCall::Learn { records: vec![NamedRecord { name: "a".into(), record: record() }] }),
        json(&NamesReply::Vote { done: true, promised: ballot(), accepted: Some(record()) }),
        json(&MetaCall::Ask { question: question(), newest_ms: Some(1), reading: 2 }),
        json(&MetaCall::Hold { origin: "m".into(), ms: 1 }),
        json(&MetaReply::Answer { answer: "{}".into(), age_ms: 4 }),
        json(&NodeUsage { bytes_used: 1, bytes_capacity: 2, ..NodeUsage::default() }),
    ]
}

mod erased {
    pub trait Said {
        fn json(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Said for T {
        fn json(&self) -> Vec<u8> {
            serde_json::to_vec(self).unwrap()
        }
    }
}

#[test]
fn fuzz_calls() {
    const TOKENS: [&str; 16] = [
        "0",
        "-1",
        "18446744073709551615",
        "4294967295",
        "1048577",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "[0,9]",
        ",",
        "}",
        "]",
        "1e9",
        "\"\\u0000\"",
    ];
    let examples = examples();
    bolero::check!().with_type::<(u8, Vec<(u16, u8, u8)>)>().with_iterations(6000).for_each(|(which, edits)| {
        let mut text = examples[usize::from(*which) % examples.len()].clone();
        for (at, cut, token) in edits.iter().take(5) {
            let at = usize::from(*at) % text.len().max(1);
            let end = (at + usize::from(*cut % 8)).min(text.len());
            text.splice(at..end, TOKENS[usize::from(*token) % TOKENS.len()].bytes());
        }
        hold::<RepairCall>(&text, |call| match call {
            RepairCall::Offer { blobs, .. } | RepairCall::Seek { blobs } => are_parts(blobs),
            RepairCall::Fates { buckets, .. } => are_buckets(buckets),
            RepairCall::Compare { digests, .. } => are_buckets(&digests.iter().map(|one| one.bucket).collect::<Vec<_>>()),
        });
        hold::<RepairReply>(&text, |reply| match reply {
            RepairReply::Has { blobs } | RepairReply::Lacking { blobs } => are_parts(blobs),
            RepairReply::Differ { buckets } => are_buckets(buckets),
            _ => {}
        });
        hold::<NamesCall>(&text, |_| ());
        hold::<NamesReply>(&text, |_| ());
        hold::<MetaCall>(&text, |_| ());
        hold::<MetaReply>(&text, |_| ());
        hold::<NodeUsage>(&text, |_| ());
        hold::<Presence>(&text, is_presence);
    });
}

/// Headers of a chunk's answer, and those that name who else has it.
#[test]
fn fuzz_headers() {
    use herring_blob::{PieceDigests, Pieces};
    let pieces = Pieces::new(9000, 16 << 10);
    let right = PieceDigests::of(pieces, &[7; 9000]);
    let hex = right.to_hex();
    bolero::check!().with_type::<(Vec<(u16, u8)>, bool, Vec<u8>)>().with_iterations(4000).for_each(|(edits, cut, any)| {
        let mut text = hex.clone().into_bytes();
        for (at, byte) in edits.iter().take(4) {
            let at = usize::from(*at) % text.len();
            text[at] = b"0123456789abcdefABCDEFg-"[usize::from(*byte) % 24];
        }
        text.truncate(text.len() - usize::from(*cut));
        let text = String::from_utf8(text).unwrap();
        // Digits may be written large; what they say is what was meant, or nothing.
        let found = PieceDigests::from_hex(pieces, right.digest(), &text);
        assert_eq!(found.is_some(), text.eq_ignore_ascii_case(&hex));
        if let Ok(value) = http::HeaderValue::from_bytes(any) {
            let named = crate::client::holders(&http::HeaderMap::from_iter([(
                http::HeaderName::from_static(crate::peer::HOLDERS),
                value,
            )]));
            assert!(named.into_iter().flatten().all(|id| !id.is_empty() && !id.contains(',')));
        }
    });
}
