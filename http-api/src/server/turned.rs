use std::iter::once;
use std::ops::Range;

use bytes::Bytes;
use herring_blob::Chunk;

/// The chunk's bytes from piece `first` to the end, then from the beginning; a piece past the last is taken for 0. That piece is the
/// first part, so that it goes out by itself; the rest is cut only where the chunk is, and not copied.
pub(super) fn turned(chunk: &Chunk, first: u32) -> Vec<Bytes> {
    let pieces = chunk.digests().pieces();
    let first = pieces.range(if first < pieces.count() { first } else { 0 });
    let (behind, before) = (first.end..chunk.len(), 0..first.start);
    let rest = parts(chunk.segments(), behind).chain(parts(chunk.segments(), before));
    once(chunk.slice(first)).chain(rest).collect()
}

/// What the segments have of `range`.
fn parts(segments: &[Bytes], range: Range<u32>) -> impl Iterator<Item = Bytes> {
    let (range, mut start) = (range.start as usize..range.end as usize, 0);
    segments.iter().filter_map(move |segment| {
        let (from, to) = (range.start.max(start), range.end.min(start + segment.len()));
        let part = (from < to).then(|| segment.slice(from - start..to - start));
        start += segment.len();
        part
    })
}

#[cfg(test)]
mod tests {
    use herring_blob::PieceCutter;
    use proptest::prelude::*;

    use super::*;

    const CHUNK: u32 = 64 << 10;

    proptest! {
        #[test]
        fn the_asker_cuts_out_the_same_pieces(len in 0..CHUNK, first in 0u32..20, cut in 1usize..40_000) {
            let whole: Bytes = (0..len).map(|at| (at / 7).to_le_bytes()[0]).collect::<Vec<u8>>().into();
            let digests = Chunk::of(whole.clone(), CHUNK).digests().clone();
            let segments: Vec<Bytes> = whole.chunks(cut).map(|segment| whole.slice_ref(segment)).collect();
            let chunk = Chunk::known(digests.clone(), segments.clone());
            let parts = turned(&chunk, first);
            let mut cutter = PieceCutter::new(digests.pieces(), first);
            let mut cut = Vec::new();
            for mut part in parts.clone() {
                while let Some(piece) = cutter.cut(&mut part) {
                    cut.push(piece);
                }
                prop_assert!(part.is_empty());
            }
            prop_assert!(cutter.is_done());
            prop_assert!(cut.iter().all(|(index, piece)| digests.verify(*index, piece)));
            // As few as there can be: each end of the turned parts cuts one segment more.
            prop_assert!(parts.len() <= segments.len() + 3);
            prop_assert_eq!(parts.first().map(Bytes::len), cut.first().map_or(Some(0), |(_, piece)| Some(piece.len())));
            let starts = first.min(digests.pieces().count());
            prop_assert!(cut.first().is_none_or(|(index, _)| *index == starts % digests.pieces().count()));
        }
    }
}
