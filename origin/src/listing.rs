//! Pages of buckets' listings, before `object_store` reads them: it refuses a whole page for one key that its paths cannot be, such as
//! `a//b`, `a/.` or one with a newline in it, which a bucket may well hold. The others are worth having.

use std::iter::from_fn;
use std::ops::Range;

use futures_util::TryStreamExt;
use object_store::client::{HttpError, HttpErrorKind, HttpResponse};
use object_store::path::Path;
use quick_xml::escape::unescape;

/// 1,000 keys of 1 KiB, with each of their bytes escaped (`&#10;`), take 6 MiB.
const LONGEST: usize = 16 << 20;

/// What stands for one key, from where to where, and what it calls the key: S3's and Google's, and Azure's.
const ENTRIES: [(&str, &str, &str); 4] = [
    ("<Contents>", "</Contents>", "<Key"),
    ("<CommonPrefixes>", "</CommonPrefixes>", "<Prefix"),
    ("<Blob>", "</Blob>", "<Name"),
    ("<BlobPrefix>", "</BlobPrefix>", "<Name"),
];

/// Keys that a page of a bucket has and that are not shown, in the answer's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub keys: usize,
    /// The first of them.
    pub such_as: String,
}

#[derive(Debug, thiserror::Error)]
#[error("a page of a listing has more than {LONGEST} bytes")]
struct TooLong;

/// Whether a request's query asks for a listing.
pub(crate) fn is_asked_for(query: &str) -> bool {
    query.split('&').any(|part| matches!(part, "list-type=2" | "comp=list"))
}

/// The answer without the keys that would make it useless.
pub(crate) async fn sifted(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = answer.into_parts();
    let collected = body.bytes_stream().try_fold(Vec::new(), |mut page, part| async move {
        if page.len() + part.len() > LONGEST {
            return Err(HttpError::new(HttpErrorKind::Decode, TooLong));
        }
        page.extend_from_slice(&part);
        Ok(page)
    });
    let page = collected.await?;
    let Some((kept, left_out)) = std::str::from_utf8(&page).ok().and_then(sift) else {
        return Ok(HttpResponse::from_parts(head, page.into()));
    };
    head.extensions.insert(left_out);
    Ok(HttpResponse::from_parts(head, kept.into()))
}

/// `None` where all may stay.
fn sift(page: &str) -> Option<(String, LeftOut)> {
    let odd: Vec<_> = entries(page).filter(|(_, key)| !is_path(key)).collect();
    let (_, Key { text, .. }) = odd.first()?;
    let such_as = unescape(text).map_or_else(|_| (*text).to_owned(), Into::into);
    let mut kept = String::with_capacity(page.len());
    let mut from = 0;
    for (Range { start, end }, _) in &odd {
        kept += &page[from..*start];
        from = *end;
    }
    kept += &page[from..];
    Some((kept, LeftOut { keys: odd.len(), such_as }))
}

/// A key as it is written in a page.
struct Key<'a> {
    attributes: &'a str,
    text: &'a str,
}

/// Where the entries of a page are, and their keys. A scan for tags is enough: within a key they are escaped.
fn entries(page: &str) -> impl Iterator<Item = (Range<usize>, Key<'_>)> {
    let mut at = 0;
    from_fn(move || {
        loop {
            let start = at + page[at..].find('<')?;
            at = start + 1;
            let Some((_, close, key)) = ENTRIES.iter().find(|(open, ..)| page[start..].starts_with(open)) else { continue };
            at = start + page[start..].find(close)? + close.len();
            if let Some(key) = key_in(&page[start..at], key) {
                return Some((start..at, key));
            }
        }
    })
}

fn key_in<'a>(entry: &'a str, tag: &str) -> Option<Key<'a>> {
    let (attributes, rest) = entry.split_once(tag)?.1.split_once('>')?;
    Some(Key { attributes, text: rest.split_once("</")?.0 })
}

/// Azure percent-encodes what XML cannot hold, and says so: as it is written it would be another key.
fn is_path(key: &Key<'_>) -> bool {
    !key.attributes.contains("Encoded=\"true\"") && unescape(key.text).is_ok_and(|text| Path::parse(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of S3, then one of Azure.
    fn pages(keys: &[&str]) -> [String; 2] {
        let contents = keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Owner><ID>x</ID></Owner></Contents>\n"));
        let blobs = keys.iter().map(|key| format!("<Blob><Name>{key}</Name><Properties/></Blob>"));
        [
            format!("<ListBucketResult><Prefix>g//</Prefix>{}</ListBucketResult>", contents.collect::<String>()),
            format!("<Results Prefix=\"g//\"><Blobs>{}</Blobs><NextMarker/></Results>", blobs.collect::<String>()),
        ]
    }

    #[test]
    fn only_odd_keys_are_taken_out() {
        for odd in ["g//bad", "g/.", "g/../x", "g/a\nb", "g/a&#10;b", "g/a&#xA;b", "g/a&#0;b", "g/&what;", "g/\u{7f}"] {
            for (page, good) in pages(&["g/1", odd, "g/a&amp;b", odd]).iter().zip(pages(&["g/1", "g/a&amp;b"])) {
                let (kept, left_out) = sift(page).unwrap();
                assert_eq!(kept.replace('\n', ""), good.replace('\n', ""), "{odd:?}");
                assert_eq!(left_out.keys, 2);
            }
        }
        let (kept, left_out) =
            sift("<CommonPrefixes><Prefix>g//</Prefix></CommonPrefixes><BlobPrefix><Name>./</Name></BlobPrefix>").unwrap();
        assert_eq!((kept.as_str(), left_out), ("", LeftOut { keys: 2, such_as: "g//".into() }));
        assert!(sift("<Blob><Name Encoded=\"true\">g%EF%BF%BE</Name></Blob>").is_some());
    }

    #[test]
    fn a_page_without_odd_keys_stays_as_it_is() {
        for page in pages(&["g/", "g/1", "g/...", "100%/&lt;a&gt;", "g/&#x9F7;", "&#228;"]) {
            assert_eq!(sift(&page), None);
        }
        for page in
            ["", "<", "<Contents>", "<Contents><Key>a//b", "<Contents><Key>a//b</Key>", "<Contents><Size>1</Size></Contents>"]
        {
            assert_eq!(sift(page), None, "{page}");
        }
    }

    #[test]
    fn a_listing_is_known_by_its_query() {
        assert!(is_asked_for("list-type=2&prefix=a") && is_asked_for("restype=container&comp=list"));
        assert!(!is_asked_for("") && !is_asked_for("x-id=GetObject&prefix=list-type%3D2"));
    }

    /// What is left has nothing odd in it.
    #[test]
    fn fuzz_pages() {
        const PARTS: [&str; 14] = [
            "<Contents>",
            "</Contents>",
            "<Key>",
            "</Key>",
            "<Blob>",
            "</Blob>",
            "<Name Encoded=\"true\">",
            "<Name>",
            "</Name>",
            "a/b",
            "//",
            "&#10;",
            "ü",
            "<",
        ];
        bolero::check!().with_type::<Vec<u8>>().with_iterations(4000).for_each(|picks| {
            let page: String = picks.iter().map(|pick| PARTS[usize::from(*pick) % PARTS.len()]).collect();
            if let Some((kept, left_out)) = sift(&page) {
                assert!(kept.len() < page.len() && left_out.keys > 0 && sift(&kept).is_none(), "{page}");
            }
        });
    }
}
