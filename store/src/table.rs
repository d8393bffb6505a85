use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

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
}

/// Set in memory only: these bytes were checked against their digest since the store was opened.
const VERIFIED: u8 = 0x80;

/// The states of all chunks of an entry, in memory.
///
/// A chunk goes absent → verified by a write, recorded → verified or absent by its first read, and no other way. So a
/// verified chunk never changes again, and readers need no lock.
pub(crate) struct Table {
    states: Box<[AtomicU8]>,
    present: AtomicU32,
}

impl Table {
    /// With `verified`, the chunks that are present were checked by this process.
    pub fn new(states: impl Iterator<Item = State>, verified: bool) -> Self {
        let mark = |state: State| if verified && state != State::Absent { state.byte() | VERIFIED } else { state.byte() };
        let states: Box<[AtomicU8]> = states.map(|state| AtomicU8::new(mark(state))).collect();
        let table = Self { states, present: AtomicU32::new(0) };
        // Entries are created with at most MAX_CHUNKS chunks.
        let present = u32::try_from(table.present().into_iter().filter(|&has| has).count()).unwrap_or(u32::MAX);
        table.present.store(present, Release);
        table
    }

    fn load(&self, n: u32) -> u8 {
        self.states.get(n as usize).map_or(0, |state| state.load(Acquire))
    }

    pub fn state(&self, n: u32) -> State {
        State::from_byte(self.load(n) & !VERIFIED)
    }

    pub fn has(&self, n: u32) -> bool {
        self.state(n) != State::Absent
    }

    pub fn is_verified(&self, n: u32) -> bool {
        self.load(n) & VERIFIED != 0
    }

    pub fn present(&self) -> Vec<bool> {
        self.states.iter().map(|state| state.load(Acquire) != 0).collect()
    }

    pub fn present_count(&self) -> u32 {
        self.present.load(Acquire)
    }

    /// An absent chunk was written. The caller has the claim on it.
    pub fn set_written(&self, n: u32) {
        self.states[n as usize].store(State::Cached.byte() | VERIFIED, Release);
        self.present.fetch_add(1, AcqRel);
    }

    /// A recorded chunk's bytes were found right. No effect where it was dropped meanwhile.
    pub fn set_verified(&self, n: u32) {
        let seen = self.state(n).byte();
        if seen != 0 {
            let _ = self.states[n as usize].compare_exchange(seen, seen | VERIFIED, AcqRel, Acquire);
        }
    }

    /// A verified chunk is on stable storage.
    pub fn set_durable(&self, n: u32) {
        self.states[n as usize].store(State::Durable.byte() | VERIFIED, Release);
    }

    /// Forgets a chunk that is recorded but not verified. False where it is not (any more).
    pub fn drop_unverified(&self, n: u32) -> bool {
        let seen = self.state(n).byte();
        let dropped = seen != 0 && self.states[n as usize].compare_exchange(seen, 0, AcqRel, Acquire).is_ok();
        if dropped {
            self.present.fetch_sub(1, AcqRel);
        }
        dropped
    }
}
