use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::ConfigError;

/// One origin as it is written in a config file or on a command line: `NAME=URL`.
///
/// | URL | the origin |
/// | --- | --- |
/// | `file:///path` | a directory of this machine |
/// | `s3://bucket/prefix?endpoint=URL&region=R&profile=P&anonymous=true&path_style=true` | a bucket, or the part of it below the prefix; all options may be left out |
/// | `gs://bucket/prefix?endpoint=URL&anonymous=true` | a bucket of Google Cloud Storage, likewise |
/// | `az://container/prefix?account=NAME&endpoint=URL&anonymous=true&emulator=true` | a container of Azure Blob Storage, likewise |
/// | `https://host/path`, `http://host/path` | what a web server gives below a path |
/// | `hf://ORG/NAME@REVISION/path?endpoint=URL`, `hf://datasets/ORG/NAME@REVISION/path` | a hub's repository, or what is below a path in it, at the commit that the revision is when it is first asked; with `?pinned=false` at whatever commit it is. A slash in a revision is written `%2F`, but for those of `refs/pr/N` and `refs/convert/NAME` |
/// | `hf://?endpoint=URL` | a whole hub, of which each `ORG/NAME@REVISION` is a directory |
///
/// `?ttl=SECONDS` stands with each of them: how long what the origin says of an object or a directory is believed. Without it 1 s for
/// `file://`, where asking costs microseconds, and 60 s for all others, where it costs money and 20 to 200 ms.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginSpec {
    name: String,
    text: String,
    url: Url,
    ttl: Duration,
}

impl OriginSpec {
    /// Checks the form only; whether the origin can exist is [`Origins::new`](crate::Origins::new)'s business.
    pub fn new(name: &str, text: &str) -> Result<Self, ConfigError> {
        if !is_origin_name(name) {
            return Err(ConfigError::Name(name.to_owned()));
        }
        let url = Url::parse(text).map_err(|why| ConfigError::Url { name: name.to_owned(), why: why.to_string() })?;
        if has_credentials(&url) {
            return Err(ConfigError::Credentials(name.to_owned()));
        }
        let ttl = ttl_of(&url).ok_or_else(|| bad_ttl(name))?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), url, ttl })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL as it was given, options included.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL letter for letter: of `hf://gpt2@main` a URL's rules make a user and a host.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How long what the origin says is believed; 0 is not at all.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The URL's options that are one kind's own.
    pub(crate) fn options(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.url.query_pairs().filter(|(option, _)| option != TTL)
    }

    /// The URL without its options.
    pub(crate) fn plain_url(&self) -> String {
        if self.url.scheme() == HUB {
            return self.text.split(['?', '#']).next().unwrap_or_default().to_owned();
        }
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// What two nodes must have in common to mean the same origin: the plain URL, and of the options those that say where it is, in whatever order
    /// they stand. An endpoint out of the environment is not part of it: there a machine says which way it goes, for all of its buckets, and
    /// machines of one swarm may go different ways to the same.
    pub(crate) fn identity(&self) -> String {
        let place = |(option, value): (Cow<'_, str>, Cow<'_, str>)| {
            PLACE.contains(&&*option).then(|| format!("{option}={}", value.trim_end_matches('/')))
        };
        let mut place: Vec<String> = self.options().filter_map(place).collect();
        place.sort_unstable();
        let question_mark = if place.is_empty() { "" } else { "?" };
        format!("{}{question_mark}{}", self.plain_url(), place.join("&"))
    }
}

/// Options that lead to other objects where they are others.
const PLACE: [&str; 2] = ["account", "endpoint"];

/// In its URLs, what is before an @ is a repository and not a user.
const HUB: &str = "hf";

const TTL: &str = "ttl";

/// `None` where it is said, but not in whole seconds; 136 years are enough for anyone.
fn ttl_of(url: &Url) -> Option<Duration> {
    let unsaid = if url.scheme() == "file" { 1 } else { 60 };
    let mut said = url.query_pairs().filter(|(option, _)| option == TTL).map(|(_, value)| value.parse::<u32>().ok());
    let seconds = said.next().unwrap_or(Some(unsaid))?;
    said.next().is_none().then(|| Duration::from_secs(seconds.into()))
}

fn bad_ttl(name: &str) -> ConfigError {
    ConfigError::Option { name: name.to_owned(), option: TTL.to_owned(), known: "ttl=SECONDS, once, in whole seconds".to_owned() }
}

impl FromStr for OriginSpec {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (name, url) = text.split_once('=').ok_or(ConfigError::NoName)?;
        Self::new(name, url)
    }
}

impl std::fmt::Debug for OriginSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.plain_url())
    }
}

pub(crate) fn has_credentials(url: &Url) -> bool {
    (!url.username().is_empty() && url.scheme() != HUB) || url.password().is_some()
}

/// It becomes a path segment of URLs and mounts, and a metric's label.
fn is_origin_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().next().is_some_and(alphanumeric)
        && name.bytes().all(|byte| alphanumeric(byte) || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "models.v2_x-y", "0", &"n".repeat(63)] {
            assert!(OriginSpec::new(name, "file:///").is_ok(), "{name}");
        }
        for name in ["", ".a", "-a", "A", "a/b", "ä", &"n".repeat(64)] {
            assert_eq!(OriginSpec::new(name, "file:///"), Err(ConfigError::Name(name.into())));
        }
    }

    #[test]
    fn only_the_first_equals_sign_parts_name_and_url() {
        let spec: OriginSpec = "m=s3://b/p?region=x".parse().unwrap();
        assert_eq!((spec.name(), spec.url().as_str()), ("m", "s3://b/p?region=x"));
        assert_eq!(format!("{spec:?}"), "m=s3://b/p");
        assert_eq!("s3://b/p".parse::<OriginSpec>(), Err(ConfigError::NoName));
    }

    #[test]
    fn what_an_origin_says_is_believed_for_its_ttl() {
        let ttl = |url: &str| OriginSpec::new("m", url).map(|spec| (spec.ttl().as_secs(), spec.options().count()));
        assert_eq!(ttl("file:///data"), Ok((1, 0)));
        assert_eq!(ttl("s3://bucket"), Ok((60, 0)));
        assert_eq!(ttl("file:///data?ttl=0"), Ok((0, 0)));
        assert_eq!(ttl("s3://bucket?region=x&ttl=3600&anonymous=true"), Ok((3600, 2)));
        for wrong in ["", "-1", "1.5", "10s", "4294967296", "1&ttl=2"] {
            let error = ttl(&format!("s3://bucket?ttl={wrong}")).unwrap_err();
            assert!(matches!(&error, ConfigError::Option { option, .. } if option == "ttl"), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_origin_is_where_it_is_and_not_how_it_is_asked() {
        let identity = |url: &str| OriginSpec::new("m", url).unwrap().identity();
        let one = identity("s3://b/p?endpoint=http://a:9000&region=x&ttl=5");
        assert_eq!(one, "s3://b/p?endpoint=http://a:9000");
        assert_eq!(one, identity("s3://b/p?path_style=true&anonymous=true&endpoint=http://a:9000/"));
        assert_ne!(one, identity("s3://b/p?endpoint=http://b:9000"));
        assert_ne!(one, identity("s3://b/p"));
        assert_eq!(identity("az://c?endpoint=http://h&account=a"), identity("az://c?account=a&endpoint=http://h"));
        assert_ne!(identity("az://c?account=a"), identity("az://c?account=b"));
        assert_ne!(identity("hf://org/m@main?endpoint=http://a"), identity("hf://org/m@main"));
    }

    #[test]
    fn a_hubs_revision_is_no_user() {
        let spec: OriginSpec = "m=hf://gpt2@main/onnx?endpoint=http://h".parse().unwrap();
        assert_eq!((spec.text(), spec.plain_url().as_str()), ("hf://gpt2@main/onnx?endpoint=http://h", "hf://gpt2@main/onnx"));
        assert!("m=hf://org/model@refs/pr/1".parse::<OriginSpec>().is_ok() && "m=hf://".parse::<OriginSpec>().is_ok());
        assert_eq!("m=hf://me:hush@hub".parse::<OriginSpec>(), Err(ConfigError::Credentials("m".into())));
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = "m=s3://key:hush@bucket/".parse::<OriginSpec>().unwrap_err();
        assert_eq!(error, ConfigError::Credentials("m".into()));
        assert!(!"m=://key:hush@".parse::<OriginSpec>().unwrap_err().to_string().contains("hush"));
    }
}
