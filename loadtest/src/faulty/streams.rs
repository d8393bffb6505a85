use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::Fault;
use super::frame::{ACK, DATA, END_STREAM, Frame, HEADERS, PADDED, RST_STREAM, SETTINGS};

const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
/// `SETTINGS_HEADER_TABLE_SIZE` 0.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];
/// Bodies are cut at one of eight places, so far apart: anywhere in the first MiB.
const STEP: u32 = 128 << 10;
/// Streams that are remembered, from the youngest: a connection has at most some hundred open.
const REMEMBERED: usize = 4096;

/// What becomes of one connection's streams. No I/O: it is told each frame, and tells what is sent instead.
#[derive(Debug, Default)]
pub struct Streams {
    ill: BTreeMap<u32, Ill>,
    answers: u32,
}

/// A stream with which something is wrong.
#[derive(Debug, Clone, Copy)]
enum Ill {
    /// Of its body, so many bytes are passed on yet.
    Doomed { left: u32, fault: Fault },
    /// Nothing more is passed on; so many bytes were not.
    Held { withheld: u32 },
    /// Both sides were told that the other has reset it.
    Dead,
}

/// What is sent on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// To the other side.
    pub onward: Vec<Frame>,
    /// To the one that the frame came from.
    pub back: Vec<Frame>,
}

impl Sent {
    fn onward(frame: Frame) -> Self {
        Self { onward: vec![frame], back: Vec::new() }
    }

    /// What is not passed on would be missing from the connection's window for ever, since the other side will not give it back.
    fn credit(bytes: u32) -> Self {
        Self { onward: Vec::new(), back: window(bytes).into_iter().collect() }
    }
}

fn window(bytes: u32) -> Option<Frame> {
    (bytes > 0).then(|| Frame::window(bytes))
}

impl Streams {
    /// A frame of the client's.
    pub fn question(&mut self, frame: Frame) -> Sent {
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            return Sent::onward(without_table(&frame));
        }
        match self.ill.get(&frame.stream).copied() {
            Some(Ill::Dead) => Sent::credit(frame.weight()),
            Some(Ill::Held { withheld }) if frame.kind == RST_STREAM => {
                self.note(frame.stream, Ill::Dead);
                let mut sent = Sent::onward(frame);
                sent.onward.extend(window(withheld));
                sent
            }
            _ => Sent::onward(frame),
        }
    }

    /// A frame of the server's.
    pub fn answer(&mut self, fault: Fault, frame: Frame) -> Sent {
        match self.ill.get_mut(&frame.stream) {
            Some(Ill::Dead) => Sent::credit(frame.weight()),
            Some(Ill::Held { withheld }) => {
                *withheld += frame.weight();
                Sent::default()
            }
            Some(Ill::Doomed { left, .. }) if frame.kind == DATA && frame.weight() <= *left && !frame.is(DATA, END_STREAM) => {
                *left -= frame.weight();
                Sent::onward(frame)
            }
            Some(Ill::Doomed { left, fault }) if frame.kind == DATA => {
                let (left, fault) = (*left, *fault);
                self.cut(&frame, left, fault)
            }
            None if frame.kind == HEADERS => self.begin(fault, frame),
            _ => Sent::onward(frame),
        }
    }

    /// Decides what becomes of an answer.
    fn begin(&mut self, fault: Fault, head: Frame) -> Sent {
        let (turn, bodiless) = (self.answers, head.is(HEADERS, END_STREAM));
        let left = turn / 2 % 8 * STEP;
        match fault {
            Fault::Reset => {
                self.answers = self.answers.wrapping_add(1);
                match turn % 4 {
                    1 | 3 => return Sent::onward(head),
                    0 => return self.kill(head.stream, 0),
                    _ if bodiless => return self.kill(head.stream, 0),
                    _ => self.note(head.stream, Ill::Doomed { left, fault }),
                }
            }
            Fault::Stall if !bodiless => {
                self.answers = self.answers.wrapping_add(1);
                self.note(head.stream, Ill::Doomed { left, fault });
            }
            _ => {}
        }
        Sent::onward(head)
    }

    /// The frame in which a body ends, too early: what is passed on of it is never all.
    fn cut(&mut self, frame: &Frame, left: u32, fault: Fault) -> Sent {
        let kept = if frame.is(DATA, PADDED) { 0 } else { left.min(frame.weight() / 2) };
        let part = Frame { flags: frame.flags & !END_STREAM, payload: frame.payload.slice(..kept as usize), ..frame.clone() };
        let rest = frame.weight() - kept;
        let mut sent = match fault {
            Fault::Reset => self.kill(frame.stream, rest),
            _ => {
                self.note(frame.stream, Ill::Held { withheld: rest });
                Sent::default()
            }
        };
        if kept > 0 {
            sent.onward.insert(0, part);
        }
        sent
    }

    /// Each side is told that the other has reset the stream; so many bytes of it stay here.
    fn kill(&mut self, stream: u32, withheld: u32) -> Sent {
        self.note(stream, Ill::Dead);
        let back = [Some(Frame::reset(stream, CANCEL)), window(withheld)].into_iter().flatten().collect();
        Sent { onward: vec![Frame::reset(stream, INTERNAL_ERROR)], back }
    }

    fn note(&mut self, stream: u32, ill: Ill) {
        self.ill.insert(stream, ill);
        while self.ill.len() > REMEMBERED {
            self.ill.pop_first();
        }
    }
}

/// The client's settings, and that it keeps no table of headers: each head can then be read, or be left out, for itself.
fn without_table(settings: &Frame) -> Frame {
    let mut payload = BytesMut::from(&settings.payload[..]);
    payload.put_slice(&NO_TABLE);
    Frame { payload: payload.freeze(), ..settings.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::frame::WINDOW_UPDATE;
    use super::*;

    fn head(stream: u32) -> Frame {
        Frame { kind: HEADERS, flags: 4, stream, payload: vec![0x88].into() }
    }

    fn data(stream: u32, length: usize, flags: u8) -> Frame {
        Frame { kind: DATA, flags, stream, payload: vec![7; length].into() }
    }

    /// Every byte of a body is passed on or given back to the server, or else the connection's window runs dry.
    fn accounted(sent: &[Sent]) -> u32 {
        let frames = |kind: u8| {
            let all = sent.iter().flat_map(move |sent| if kind == DATA { &sent.onward } else { &sent.back });
            all.filter(move |frame| frame.kind == kind)
        };
        let credits = frames(WINDOW_UPDATE).map(|frame| u32::from_be_bytes(frame.payload[..].try_into().unwrap()));
        frames(DATA).map(Frame::weight).chain(credits).sum()
    }

    #[test]
    fn in_health_frames_are_passed_on_as_they_are() {
        let mut streams = Streams::default();
        for frame in [head(1), data(1, 100_000, END_STREAM), head(3), data(3, 0, END_STREAM)] {
            assert_eq!(streams.answer(Fault::None, frame.clone()), Sent::onward(frame));
        }
        assert_eq!(streams.question(data(5, 10, 0)), Sent::onward(data(5, 10, 0)));
    }

    #[test]
    fn every_other_stream_is_reset_at_its_head_or_within_its_body() {
        let (mut streams, mut reset, mut whole) = (Streams::default(), 0, 0);
        for stream in (1..=199).step_by(2) {
            let frames = [head(stream), data(stream, 64 << 10, 0), data(stream, 1 << 20, 0), data(stream, 500, END_STREAM)];
            let sent: Vec<Sent> = frames.into_iter().map(|frame| streams.answer(Fault::Reset, frame)).collect();
            let is_reset = sent.iter().any(|sent| sent.onward.contains(&Frame::reset(stream, INTERNAL_ERROR)));
            let told = sent.iter().any(|sent| sent.back.contains(&Frame::reset(stream, CANCEL)));
            let ended = sent.iter().flat_map(|sent| &sent.onward).any(|frame| frame.is(DATA, END_STREAM));
            assert!(is_reset == told && is_reset != ended, "{sent:?}");
            assert_eq!(accounted(&sent), (64 << 10) + (1 << 20) + 500, "{sent:?}");
            *(if is_reset { &mut reset } else { &mut whole }) += 1;
        }
        assert_eq!((reset, whole), (50, 50));
    }

    #[test]
    fn after_a_reset_neither_side_hears_of_the_stream_again() {
        let mut streams = Streams::default();
        streams.answer(Fault::Reset, head(1));
        assert_eq!(streams.question(Frame::reset(1, 8)), Sent::default());
        assert_eq!(streams.question(data(1, 10, 0)), Sent::credit(10));
        assert_eq!(streams.answer(Fault::None, head(1)), Sent::default());
    }

    #[test]
    fn a_stalled_body_never_ends_and_its_window_comes_back_when_the_client_gives_it_up() {
        let mut streams = Streams::default();
        let small = [head(1), data(1, 30, END_STREAM)].map(|frame| streams.answer(Fault::Stall, frame));
        assert_eq!((accounted(&small), small.iter().any(|sent| !sent.back.is_empty())), (0, false));
        let given_up = streams.question(Frame::reset(1, 8));
        assert_eq!(given_up.onward, [Frame::reset(1, 8), Frame::window(30)]);
        assert_eq!(streams.answer(Fault::Stall, data(1, 40, 0)).back, [Frame::window(40)]);
    }

    #[test]
    fn no_header_depends_on_an_earlier_one() {
        let settings = Frame { kind: SETTINGS, flags: 0, stream: 0, payload: vec![0, 5, 0, 16, 0, 0].into() };
        let sent = Streams::default().question(settings);
        assert_eq!(sent.onward[0].payload[6..], NO_TABLE);
    }
}
