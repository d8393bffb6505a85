//! Questions about origins: whom they concern, and where on the ring they are answered.

use herring_http_api::peer::MetaQuestion;
use herring_origin::{Lifetime, Origin};
use herring_ring::Point;

/// The origin that it is about.
pub(super) fn origin_of(question: &MetaQuestion) -> &str {
    match question {
        MetaQuestion::Key { origin, .. }
        | MetaQuestion::Page { origin, .. }
        | MetaQuestion::Document { origin, .. }
        | MetaQuestion::Pin { origin } => origin,
    }
}

/// What it is about, for errors.
pub(super) fn what(question: &MetaQuestion) -> String {
    match question {
        MetaQuestion::Key { origin, key } => format!("{origin}/{key}"),
        MetaQuestion::Page { origin, prefix, .. } => format!("{origin}/{prefix}"),
        MetaQuestion::Document { origin, path } => format!("{origin}/api/{path}"),
        MetaQuestion::Pin { origin } => format!("the commit of {origin}"),
    }
}

/// The metrics' label.
pub(super) fn kind(question: &MetaQuestion) -> &'static str {
    match question {
        MetaQuestion::Key { .. } => "key",
        MetaQuestion::Page { .. } => "page",
        MetaQuestion::Document { .. } => "document",
        MetaQuestion::Pin { .. } => "pin",
    }
}

/// Where it is owned. All pages of a listing lie together, where it is asked whether there is such a directory: an origin may keep what it has read of
/// one for the next page. So do the files of a directory where nothing changes, which is at a hub's commit: a hub tells of all of them at once, and counts
/// its requests.
pub(super) fn point_of(origin: &Origin, question: &MetaQuestion) -> Point {
    match question {
        MetaQuestion::Key { key, .. } if origin.lifetime(key) == Lifetime::Forever => {
            Point::of_listing(origin.name(), key.rsplit_once('/').map_or("", |(directory, _)| directory))
        }
        MetaQuestion::Key { key, .. } => Point::of_key(origin.name(), key),
        MetaQuestion::Page { prefix, .. } if origin.lifetime(prefix) == Lifetime::Forever => {
            Point::of_listing(origin.name(), prefix)
        }
        MetaQuestion::Page { prefix, .. } => Point::of_key(origin.name(), prefix),
        MetaQuestion::Document { path, .. } => Point::of_key(origin.name(), path),
        MetaQuestion::Pin { .. } => Point::of_key(origin.name(), ""),
    }
}

/// The bytes of its own that it takes in memory.
pub(super) fn weight(question: &MetaQuestion) -> usize {
    match question {
        MetaQuestion::Key { origin, key } => origin.len() + key.len(),
        MetaQuestion::Page { origin, prefix, token } => origin.len() + prefix.len() + token.as_ref().map_or(0, String::len),
        MetaQuestion::Document { origin, path } => origin.len() + path.len(),
        MetaQuestion::Pin { origin } => origin.len(),
    }
}
