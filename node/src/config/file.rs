//! A file of settings: what is wrong in it, said so that it can be put right without the manual.

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, Error};

use super::parse_size;

/// Flags of the program that a file cannot set.
const FLAGS_ONLY: [&str; 6] = ["log-format", "json", "node", "ca", "token-file", "config"];

/// A list, or the one thing that would be in it.
pub fn one_or_more<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "it is neither a text nor a list of texts")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(value)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// A number of bytes, or a size as people write it.
pub fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<ByteSize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "it is neither a number of bytes nor a text")]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(value)? {
        Size::Bytes(bytes) => Ok(Some(ByteSize(bytes))),
        Size::Text(text) => parse_size(&text).map(Some).map_err(D::Error::custom),
    }
}

/// `line 3: replicas must be a whole number, such as 3 (what is wrong with it)`.
pub fn explain(text: &str, error: &Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let message = error.message().replace('\n', " ");
    match key_at(text, at) {
        Some(key) if FLAGS_ONLY.contains(&key.as_str()) => {
            format!("line {line}: {key} is a flag only: give --{key} on the command line instead")
        }
        Some(key) => match allowed(&key) {
            Some(allowed) => format!("line {line}: {key} must be {allowed} ({message})"),
            // An unknown key, which the message names, with those that there are.
            None => format!("line {line}: {message}"),
        },
        None => format!("line {line}: {message}"),
    }
}

/// The key whose name or value is at this byte; `None` where the text is no TOML.
fn key_at(text: &str, at: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?.into_inner();
    let entry = table.into_iter().find(|(key, value)| (key.span().start..value.span().end).contains(&at));
    entry.map(|(key, _)| key.into_inner().into_owned())
}

/// What may stand behind a key; `None` where there is no such key.
fn allowed(key: &str) -> Option<&'static str> {
    Some(match key {
        "id" => "a name of letters, digits, '.', '_' and '-' in quotes, such as \"n1\"",
        "cluster" | "zone" => "a name in quotes, such as \"rack-7\"",
        "data-dir" | "mount" => "a directory in quotes, such as \"/srv/herring\"",
        "tls-cert" | "tls-key" | "tls-ca" => "a PEM file in quotes, such as \"/etc/herring/node.pem\"",
        "cluster-key" => "a file in quotes, such as \"/etc/herring/cluster.key\"",
        "tokens" => "a file in quotes, such as \"/etc/herring/tokens.toml\"",
        "congestion" => "a name that the kernel knows in quotes, such as \"cubic\"",
        "rebalance-after" => "a time in quotes, such as \"10s\" or \"5m\"",
        "capacity" | "rebalance-rate" => "a number of bytes or a size in quotes, such as \"500GB\" or \"1TiB\"",
        "listen" | "advertise" | "gossip" | "gossip-advertise" => "an IP address and a port in quotes, such as \"10.0.0.7:7070\"",
        "seed" | "seeds" => "a HOST:PORT in quotes or a list of them, such as [\"10.0.0.8:7071\", \"10.0.0.9:7071\"]",
        "origin" | "origins" => "a NAME=URL in quotes or a list of them, such as [\"models=s3://bucket/models\"]",
        "replicas" => "a whole number from 1 on, without quotes, such as 3",
        "weight" => "a whole number from 0 to 10000, without quotes, such as 100",
        "scrub-days" => "a whole number of days, without quotes, such as 30",
        "profile-idle" => "a whole number of seconds, without quotes, such as 5",
        "allow-other" | "native-reads" | "insecure" | "no-redirects" => "true or false, without quotes",
        _ => return None,
    })
}
