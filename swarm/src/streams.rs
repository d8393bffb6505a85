use herring_blob::ByteRange;

/// Readers of one content that are told apart: as many threads as read one map at different offsets.
const MOST: usize = 64;

/// The readers of one content, each recognised by where it reads. A mount does not tell which open file a read came through, and
/// one file may be read in several places at once, so it is the offsets that tell readers apart.
///
/// `A` is whatever is kept for each reader.
#[derive(Debug)]
pub(crate) struct Streams<A> {
    streams: Vec<Stream<A>>,
    clock: u64,
}

#[derive(Debug)]
struct Stream<A> {
    /// The end of what was read.
    next: u64,
    /// Bytes read one behind the other up to there.
    run: u64,
    /// Whether a read went on where another had ended, or began where all begins.
    goes_on: bool,
    /// When it was seen last, in reads of this content.
    seen: u64,
    kept: A,
}

/// A reader that goes forward.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forward<'a, A> {
    /// Where it is: the end of what it read.
    pub next: u64,
    /// Bytes that it read one behind the other up to there.
    pub run: u64,
    pub kept: &'a mut A,
}

impl<A> Default for Streams<A> {
    fn default() -> Self {
        Self { streams: Vec::new(), clock: 0 }
    }
}

impl<A: Default> Streams<A> {
    /// Notes a read. The reader, if it goes forward and has read `after` bytes in one run, since less may be chance. The same read
    /// noted twice counts once.
    pub fn note(&mut self, range: ByteRange, after: u64) -> Option<Forward<'_, A>> {
        self.clock += 1;
        let at = self.find(range).unwrap_or_else(|| self.begin(range));
        let stream = &mut self.streams[at];
        stream.seen = self.clock;
        if range.end > stream.next {
            stream.run += range.end - stream.next;
            stream.next = range.end;
            stream.goes_on = true;
        }
        let forward = stream.goes_on && stream.run >= after;
        forward.then_some(Forward { next: stream.next, run: stream.run, kept: &mut stream.kept })
    }

    /// The reader that would read here next. The kernel's requests may overtake each other, so a little too far or too near is
    /// near enough.
    fn find(&self, range: ByteRange) -> Option<usize> {
        let slack = range.len().saturating_mul(2);
        let near = |stream: &Stream<A>| stream.next.abs_diff(range.start) <= slack || stream.next == range.end;
        let near = self.streams.iter().enumerate().filter(|(_, stream)| near(stream));
        near.min_by_key(|(_, stream)| stream.next.abs_diff(range.start)).map(|(at, _)| at)
    }

    fn begin(&mut self, range: ByteRange) -> usize {
        let goes_on = range.start == 0;
        let stream = Stream { next: range.end, run: range.len(), goes_on, seen: self.clock, kept: A::default() };
        if self.streams.len() < MOST {
            self.streams.push(stream);
            return self.streams.len() - 1;
        }
        let oldest = self.streams.iter().enumerate().min_by_key(|(_, stream)| stream.seen).map_or(0, |(at, _)| at);
        self.streams[oldest] = stream;
        oldest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const AFTER: u64 = MIB / 8;

    fn streams() -> Streams<()> {
        Streams::default()
    }

    /// Where the reader is and how much it read in one run, if it goes forward.
    fn forward(streams: &mut Streams<()>, start: u64, len: u64) -> Option<(u64, u64)> {
        streams.note(ByteRange::at(start, len), AFTER).map(|forward| (forward.next, forward.run))
    }

    #[test]
    fn who_begins_at_the_beginning_goes_forward_at_once_and_others_with_their_second_read() {
        let mut streams = streams();
        assert_eq!(forward(&mut streams, 0, MIB), Some((MIB, MIB)));
        assert_eq!(forward(&mut streams, 100 * MIB, MIB), None);
        assert_eq!(forward(&mut streams, 101 * MIB, MIB), Some((102 * MIB, 2 * MIB)));
        assert_eq!(forward(&mut streams, MIB, MIB), Some((2 * MIB, 2 * MIB)));
    }

    #[test]
    fn small_steps_count_once_they_are_many() {
        let mut streams = streams();
        let first = (0..64).find(|n| forward(&mut streams, n * 4096, 4096).is_some());
        assert_eq!(first, Some(31));
    }

    #[test]
    fn many_readers_of_one_content_do_not_disturb_each_other() {
        let mut streams = streams();
        for n in 0..10 {
            for reader in 0..MOST as u64 {
                let goes_on = forward(&mut streams, ((reader + 1) << 32) + n * MIB, MIB);
                assert_eq!(goes_on.is_some(), n > 0, "reader {reader}, step {n}");
            }
        }
    }

    #[test]
    fn requests_that_overtake_each_other_are_one_reader() {
        let mut streams = streams();
        for n in (0..20).step_by(2) {
            forward(&mut streams, (n + 1) * MIB, MIB);
            forward(&mut streams, n * MIB, MIB);
        }
        assert_eq!(forward(&mut streams, 20 * MIB, MIB), Some((21 * MIB, 20 * MIB)));
        assert_eq!(streams.streams.len(), 1);
    }

    #[test]
    fn the_same_read_twice_is_no_step() {
        let mut streams = streams();
        assert_eq!(forward(&mut streams, MIB, MIB), None);
        assert_eq!(forward(&mut streams, MIB, MIB), None);
    }

    proptest! {
        #[test]
        fn random_small_reads_send_for_nothing(offsets in prop::collection::vec(0u64..1 << 18, 1..500)) {
            let mut streams = streams();
            for page in offsets {
                // 4 KiB somewhere in a GiB, never less than 16 KiB from the last.
                prop_assert_eq!(forward(&mut streams, page * 5 * 4096, 4096), None);
            }
        }
    }
}
