use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use herring_http_api::client::{ApiClient, PeerConfig};
use serde::{Deserialize, Serialize};

use super::secure::Secrets;
use crate::error::Failure;

/// Ports from one node to the next.
pub const STRIDE: u16 = 10;

/// Which nodes there are to be on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layout {
    pub dir: PathBuf,
    /// Of the first node's API.
    pub port: u16,
    pub nodes: u16,
    pub replicas: usize,
    pub mounts: bool,
    /// Each `NAME=URL`.
    pub origins: Vec<String>,
    /// More words of every node's command line.
    pub flags: Vec<String>,
    /// `None`: everything in clear.
    #[serde(default)]
    pub secrets: Option<Secrets>,
}

/// One node's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub id: String,
    pub dir: PathBuf,
    pub http: SocketAddr,
    pub gossip: SocketAddr,
    pub mount: Option<PathBuf>,
    /// The network namespace that it runs in, if not ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// How it is spoken to, if not in clear.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub secrets: Option<Secrets>,
}

impl Layout {
    pub fn places(&self) -> Result<Vec<Place>, Failure> {
        (0..self.nodes).map(|index| self.place(index).ok_or_else(|| self.no_ports())).collect()
    }

    /// What to paste into a shell to have the node at `place` again, on one line.
    pub fn command(&self, place: &Place, all: &[Place]) -> String {
        let program = std::env::current_exe().map_or_else(|_| "herring".into(), PathBuf::into_os_string);
        let words = [program].into_iter().chain(["node".into()]).chain(self.settings(place, all));
        words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// `None` where the ports would go past the last there is.
    fn place(&self, index: u16) -> Option<Place> {
        let port = self.port.checked_add(STRIDE.checked_mul(index)?)?;
        let (id, dir) = (name(index), home(&self.dir, index));
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, gossip) = (address(port), address(port.checked_add(1)?));
        let (mount, secrets) = (self.mounts.then(|| dir.join("mnt")), self.secrets.clone());
        Some(Place { id, dir, http, gossip, mount, namespace: None, secrets })
    }

    fn no_ports(&self) -> Failure {
        Failure::usage(format_args!("{} nodes from port {} on go past the last port: give a lower --port", self.nodes, self.port))
    }

    /// The whole command line of our child at `place`, as text.
    pub fn line(&self, place: &Place, all: &[Place]) -> Vec<String> {
        let words = place.program().unwrap_or_default().into_iter().chain(self.arguments(place, all));
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// The command line of our child at `place`.
    pub fn arguments(&self, place: &Place, all: &[Place]) -> Vec<OsString> {
        ["node".into(), "--die-with-parent".into()].into_iter().chain(self.settings(place, all)).collect()
    }

    /// What the node at `place` is told: it begins with all others.
    fn settings(&self, place: &Place, all: &[Place]) -> Vec<OsString> {
        let mut line = Vec::new();
        let mut flag = |name: &str, value: OsString| line.extend([name.into(), value]);
        flag("--id", place.id.clone().into());
        flag("--data-dir", place.dir.clone().into());
        flag("--listen", place.http.to_string().into());
        flag("--gossip", place.gossip.to_string().into());
        flag("--replicas", self.replicas.to_string().into());
        all.iter().filter(|other| *other != place).for_each(|other| flag("--seed", other.gossip.to_string().into()));
        self.origins.iter().for_each(|origin| flag("--origin", origin.into()));
        place.mount.iter().for_each(|mount| flag("--mount", mount.into()));
        let secrets = place.secrets.iter().flat_map(|secrets| secrets.flags(&place.id));
        secrets.for_each(|(name, file)| flag(name, file.into()));
        line.extend(self.flags.iter().map(OsString::from));
        line
    }
}

/// The ids of so many nodes.
pub fn names(nodes: u16) -> impl Iterator<Item = String> {
    (0..nodes).map(name)
}

fn name(index: u16) -> String {
    format!("n{}", index + 1)
}

/// The directory of the node with this index, from 0.
pub fn home(dir: &Path, index: u16) -> PathBuf {
    dir.join(name(index))
}

/// As a POSIX shell reads one word: in single quotes, unless there is nothing to quote.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

impl Place {
    /// What runs the program where this node is.
    pub fn program(&self) -> std::io::Result<Vec<OsString>> {
        let enter = self.namespace.iter().flat_map(|name| ["nsenter".into(), format!("--net=/run/netns/{name}").into()]);
        Ok(enter.chain([std::env::current_exe()?.into_os_string()]).collect())
    }

    pub fn url(&self) -> String {
        let scheme = if self.secrets.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.http)
    }

    pub fn client(&self) -> Result<ApiClient, Failure> {
        Ok(ApiClient::with_config(&self.url(), &self.speech()?)?)
    }

    /// How it is spoken to by who started it.
    pub fn speech(&self) -> Result<PeerConfig, Failure> {
        self.secrets.as_ref().map_or_else(|| Ok(PeerConfig::patient()), Secrets::speech)
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("herring.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::NodeConfig;
    use clap::Parser;

    fn layout(port: u16, nodes: u16) -> Layout {
        Layout {
            dir: "/nowhere/up".into(),
            port,
            nodes,
            replicas: 2,
            mounts: true,
            origins: vec!["root=file:///".into()],
            flags: vec!["--insecure".into()],
            secrets: None,
        }
    }

    #[test]
    fn ports_and_directories_are_those_of_the_contract() {
        let places = layout(7070, 3).places().unwrap();
        let http: Vec<u16> = places.iter().map(|place| place.http.port()).collect();
        assert_eq!(http, [7070, 7080, 7090]);
        assert!(places.iter().all(|place| place.gossip.port() == place.http.port() + 1));
        assert_eq!(places[2].id, "n3");
        assert_eq!(places[2].mount.as_deref().unwrap().to_str(), Some("/nowhere/up/n3/mnt"));
        assert_eq!(places[0].url(), "http://127.0.0.1:7070");
    }

    #[test]
    fn ports_end_somewhere() {
        assert!(layout(65514, 3).places().is_ok());
        assert!(layout(65515, 3).places().unwrap_err().to_string().contains("--port"));
    }

    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        assert_eq!(quote("--seed"), "--seed");
        assert_eq!(quote("a=s3://b/c?x=1&y"), "'a=s3://b/c?x=1&y'");
        assert_eq!(quote("it's here"), r"'it'\''s here'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn the_way_back_is_one_line_for_a_node_that_needs_no_parent() {
        let mut layout = layout(7070, 2);
        layout.dir = "/no where".into();
        let places = layout.places().unwrap();
        let command = layout.command(&places[1], &places);
        assert!(command.contains(" node --id n2 --data-dir '/no where/n2' --listen 127.0.0.1:7080 "), "{command}");
        assert!(!command.contains("parent") && !command.contains('\n'), "{command}");
    }

    #[test]
    fn a_node_understands_the_line_it_is_given() {
        let layout = layout(7070, 3);
        let places = layout.places().unwrap();
        let line = [OsString::from("herring")].into_iter().chain(layout.arguments(&places[1], &places));
        let Command::Node(args) = Cli::try_parse_from(line).unwrap().command else { panic!("a node was meant") };
        assert!(args.die_with_parent);
        let config = NodeConfig::new(args.settings).unwrap();
        assert_eq!(config.listen, places[1].http);
        assert_eq!(config.seeds, ["127.0.0.1:7071", "127.0.0.1:7091"]);
        assert_eq!((config.replicas, config.origins.len()), (2, 1));
        assert_eq!(config.mount, places[1].mount);
    }
}
