use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, fence};

use herring_blob::Pieces;

use crate::space::Class;

/// What is recorded of one chunk. The values are the bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Absent = 0,
    Cached = 1,
    Durable = 2,
}

impl State {
    /// A byte that no version of this program wrote is rot: the chunk counts as absent.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Cached,
            2 => Self::Durable,
            _ => Self::Absent,
        }
    }

    pub fn byte(self) -> u8 {
        self as u8
    }

    /// What the bytes of a chunk count as that is here.
    pub fn class(self) -> Class {
        if self == Self::Durable { Class::Durable } else { Class::Cached }
    }
}

/// Some of a chunk's pieces, one bit each. A chunk has at most 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mask(u16);

impl Mask {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(u16::MAX);

    /// The last piece stands for those that the chunk is too short for, so that all pieces of any chunk are [`ALL`](Self::ALL).
    pub fn of(range: Range<u32>, pieces: Pieces) -> Self {
        let end = if range.end < pieces.count() { range.end } else { u16::BITS };
        Self(below(end) & !below(range.start))
    }
}

/// The bits under bit `end`.
fn below(end: u32) -> u16 {
    u16::MAX.checked_shr(u16::BITS.saturating_sub(end)).unwrap_or(0)
}

/// One chunk at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub state: State,
    /// How often the chunk was dropped or doubted, modulo 256: tells whether it is still the same one.
    life: u8,
    /// The pieces that this process has checked.
    verified: Mask,
}

impl Seen {
    fn new(state: State, verified: bool) -> Self {
        let all = verified && state != State::Absent;
        Self { state, life: 0, verified: if all { Mask::ALL } else { Mask::NONE } }
    }

    pub fn is_here(self) -> bool {
        self.state != State::Absent
    }

    /// Whether all of these pieces are here and were checked.
    pub fn is_verified(self, pieces: Mask) -> bool {
        self.is_here() && self.verified.0 & pieces.0 == pieces.0
    }

    fn from_word(word: u32) -> Self {
        let [state, life, low, high] = word.to_le_bytes();
        Self { state: State::from_byte(state), life, verified: Mask(u16::from_le_bytes([low, high])) }
    }

    fn word(self) -> u32 {
        let [low, high] = self.verified.0.to_le_bytes();
        u32::from_le_bytes([self.state.byte(), self.life, low, high])
    }
}

/// The states of all chunks of an entry, in memory: 4 bytes a chunk.
///
/// A piece goes absent → verified by a write, recorded → verified by its first read, and the whole chunk to absent where that finds
/// it wrong. Readers need no lock: who has read checked pieces asks afterwards whether the chunk is [`still`](Self::still) the same,
/// since another piece of it may have been found wrong, or all of it evicted, meanwhile. A chunk of which all pieces are verified never
/// changes, unless somebody else writes to its file: then all are [doubted](Self::doubt).
pub(crate) struct Table {
    chunks: Box<[AtomicU32]>,
    present: AtomicU32,
    /// Chunks of which all pieces are verified.
    verified: AtomicU32,
}

impl Table {
    /// With `verified`, the chunks that are present were checked by this process.
    pub fn new(states: impl Iterator<Item = State>, verified: bool) -> Self {
        let mut present = 0;
        let mut count = |seen: Seen| present += u32::from(seen.is_here());
        let chunk = |state| Seen::new(state, verified);
        let chunks = states.map(chunk).inspect(|&seen| count(seen)).map(|seen| AtomicU32::new(seen.word())).collect();
        let verified = AtomicU32::new(if verified { present } else { 0 });
        Self { chunks, present: AtomicU32::new(present), verified }
    }

    pub fn look(&self, n: u32) -> Seen {
        Seen::from_word(self.chunks.get(n as usize).map_or(0, |chunk| chunk.load(Acquire)))
    }

    pub fn has(&self, n: u32) -> bool {
        self.look(n).is_here()
    }

    /// Whether the chunk was neither dropped nor doubted since it was `seen`, so that what was read of its verified pieces since is right.
    pub fn still(&self, n: u32, seen: Seen) -> bool {
        fence(Acquire);
        let now = self.look(n);
        now.is_here() && now.life == seen.life
    }

    pub fn present(&self) -> Vec<bool> {
        (0u32..).zip(&self.chunks).map(|(n, _)| self.has(n)).collect()
    }

    pub fn present_count(&self) -> u32 {
        self.present.load(Acquire)
    }

    /// Chunks that are here and verified to the last piece.
    pub fn verified_count(&self) -> u32 {
        self.verified.load(Acquire)
    }

    /// An absent chunk was written after it was `seen`; verified, unless it was doubted since. The caller has the claim on it.
    pub fn set_written(&self, n: u32, seen: Seen) {
        let verified = |now: Seen| if now.life == seen.life { Mask::ALL } else { Mask::NONE };
        let before = self.change(n, |now| Some(Seen { state: State::Cached, verified: verified(now), ..now }));
        self.present.fetch_add(1, AcqRel);
        if before.is_some_and(|before| verified(before) == Mask::ALL) {
            self.verified.fetch_add(1, AcqRel);
        }
    }

    /// These pieces of the chunk that was `seen` were found right. No effect where it was dropped or doubted meanwhile.
    pub fn set_verified(&self, n: u32, seen: Seen, pieces: Mask) {
        let more = |now: Seen| Seen { verified: Mask(now.verified.0 | pieces.0), ..now };
        let same = |now: Seen| now.is_here() && now.life == seen.life && !now.is_verified(pieces);
        let before = self.change(n, |now| same(now).then(|| more(now)));
        if before.is_some_and(|before| more(before).verified == Mask::ALL) {
            self.verified.fetch_add(1, AcqRel);
        }
    }

    /// A verified chunk is on stable storage.
    pub fn set_durable(&self, n: u32) {
        self.change(n, |seen| Some(Seen { state: State::Durable, ..seen }));
    }

    /// A durable chunk was released.
    pub fn set_cached(&self, n: u32) {
        self.change(n, |seen| Some(Seen { state: State::Cached, ..seen }));
    }

    /// Nothing is verified any more: each piece counts only once it was read anew.
    pub fn doubt(&self) {
        for n in 0..u32::try_from(self.chunks.len()).unwrap_or(u32::MAX) {
            let again = |now: Seen| Seen { life: now.life.wrapping_add(1), verified: Mask::NONE, ..now };
            if self.change(n, |now| Some(again(now))).is_some_and(|before| before.is_verified(Mask::ALL)) {
                self.verified.fetch_sub(1, AcqRel);
            }
        }
    }

    /// Forgets the chunk that was `seen`, of which these pieces are wrong. What it was; `None` where it was dropped or doubted, or they
    /// were found right, meanwhile.
    pub fn drop_unverified(&self, n: u32, seen: Seen, wrong: Mask) -> Option<State> {
        self.drop_if(n, |now| now.is_here() && now.life == seen.life && !now.is_verified(wrong)).map(|before| before.state)
    }

    /// Forgets the chunk that was `seen`, whatever was found right of it. What it was; `None` where it was dropped or doubted meanwhile.
    pub fn drop_verified(&self, n: u32, seen: Seen) -> Option<State> {
        self.drop_if(n, |now| now.is_here() && now.life == seen.life).map(|before| before.state)
    }

    fn drop_if(&self, n: u32, same: impl Fn(Seen) -> bool) -> Option<Seen> {
        let gone = |now: Seen| Seen { state: State::Absent, life: now.life.wrapping_add(1), verified: Mask::NONE };
        let before = self.change(n, |now| same(now).then(|| gone(now)))?;
        self.present.fetch_sub(1, AcqRel);
        if before.is_verified(Mask::ALL) {
            self.verified.fetch_sub(1, AcqRel);
        }
        Some(before)
    }

    /// Forgets a cached chunk: what it was. `None` where it is durable or absent.
    pub fn drop_cached(&self, n: u32) -> Option<Seen> {
        self.drop_if(n, |now| now.state == State::Cached)
    }

    /// Undoes that. The caller has the claim on the chunk; who reads from it will read again. What was verified counts, unless all was
    /// doubted meanwhile.
    pub fn restore(&self, n: u32, before: Seen) {
        let undoubted = |now: Seen| now.life == before.life.wrapping_add(1);
        let again =
            |now: Seen| Seen { life: now.life, verified: if undoubted(now) { before.verified } else { Mask::NONE }, ..before };
        let dropped = self.change(n, |now| Some(again(now)));
        self.present.fetch_add(1, AcqRel);
        let whole = dropped.is_some_and(|now| again(now).is_verified(Mask::ALL));
        self.verified.fetch_add(whole.into(), AcqRel);
    }

    /// What the chunk was before it was changed; `None` where `to` refused.
    fn change(&self, n: u32, to: impl Fn(Seen) -> Option<Seen>) -> Option<Seen> {
        let word = |word| Some(to(Seen::from_word(word))?.word());
        self.chunks.get(n as usize)?.fetch_update(AcqRel, Acquire, word).ok().map(Seen::from_word)
    }
}
