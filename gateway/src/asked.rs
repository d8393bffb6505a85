/// What a request through a door would read, before anything is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// An origin's object.
    Object { origin: String, key: String },
    /// Something of what an origin has at keys that begin so.
    Below { origin: String, prefix: String },
    /// What is of all origins, or of none.
    All,
}
