//! What this node shows and whom it trusts, from files that are read again while it runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use herring_http_api::tls::{Card, ClientTls, Identity, ServerTls, can_be_named};
use herring_ring::NodeId;
use tokio::time::sleep;

use crate::config::TlsFiles;
use crate::error::Failure;

/// Between two looks at the files.
const EVERY: Duration = Duration::from_secs(5);
/// Permissions with which others than the owner may read or change the key.
const OTHERS: u32 = 0o077;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Before something ends it is told so, once a day.
const NOTICE_DAYS: i64 = 30;

/// A running node's TLS, which follows its files.
pub struct Tls {
    files: TlsFiles,
    id: NodeId,
    /// What was read last and could be used.
    now: Identity,
    /// Those that the node's server and its client have.
    server: ServerTls,
    client: ClientTls,
    /// Why the files cannot be used, which is told once.
    told: Option<String>,
    /// When it was last said that something ends.
    warned: Option<Instant>,
}

/// The files' content; with a sentence where no peer would believe it.
pub fn read(files: &TlsFiles) -> Result<Identity, Failure> {
    keep_secret(&files.key)?;
    Identity::read(&files.cert, &files.key, &files.ca).map_err(Failure::usage)
}

/// Whoever can read a node's key can be that node. One that cannot be looked at cannot be read either, and that is told then.
fn keep_secret(key: &Path) -> Result<(), Failure> {
    let mode = std::fs::metadata(key).map_or(0, |meta| meta.mode());
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(Failure::usage(format_args!(
        "the private key in {}: others may read it (mode {:03o}): chmod 600 it",
        key.display(),
        mode & 0o777
    )))
}

/// The id that a certificate gives to a node that has none.
pub fn id_of(files: &TlsFiles, card: &Card) -> Result<NodeId, Failure> {
    let only = card.names().first().filter(|_| card.names().len() == 1);
    only.and_then(|name| name.parse().ok()).ok_or_else(|| {
        Failure::usage(format_args!(
            "the certificate in {} is for {card}: say with --id which node this is",
            files.cert.display()
        ))
    })
}

/// Whether something that ends then is to be renewed.
pub fn ends_soon(until: i64) -> bool {
    days_left(until) < NOTICE_DAYS
}

fn days_left(until: i64) -> i64 {
    seconds_left(until) / 86_400
}

fn seconds_left(until: i64) -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    until.saturating_sub(now)
}

/// As [`read`], for a start: one that has ended is told with all that is to be done.
pub fn open(files: &TlsFiles, id: Option<&NodeId>) -> Result<Identity, Failure> {
    read(files).map_err(|failure| match Card::read(&files.cert) {
        Ok(card) if seconds_left(card.until()) <= 0 => {
            let id = id.cloned().or_else(|| id_of(files, &card).ok()).map_or_else(|| "NODE".to_owned(), |id| id.to_string());
            Failure::usage(format_args!("{failure}. {}", renewal(files, &id)))
        }
        _ => failure,
    })
}

/// How the certificate of the node `id` is made anew.
fn renewal(files: &TlsFiles, id: &str) -> String {
    let (cert, key) = (files.cert.display(), files.key.display());
    format!(
        "where the authority is: herring certs issue {id} --renew (if it was made with --out DIR, give that again); then copy {id}.pem to {cert}, \
         and {id}.key to {key}"
    )
}

/// Peers believe a certificate for this very node only.
fn check(files: &TlsFiles, card: &Card, id: &NodeId) -> Result<(), String> {
    if card.is_for(id.as_str()) {
        return Ok(());
    }
    if !can_be_named(id.as_str()) {
        return Err(format!("the node id {id} cannot be in a certificate, as it is no host's name: choose another with --id"));
    }
    let cert = files.cert.display();
    Err(format!(
        "the certificate in {cert} is for {card}, not for this node, {id}: say with --id which node this is, or have a certificate made for it: \
         herring certs issue {id}"
    ))
}

impl Tls {
    /// Of the node `id`, to which the certificate must belong.
    pub fn new(files: TlsFiles, now: Identity, id: NodeId) -> Result<Self, Failure> {
        check(&files, now.card(), &id).map_err(Failure::usage)?;
        now.observe();
        let (server, client) = (now.server().clone(), now.client().clone());
        Ok(Self { files, id, now, server, client, told: None, warned: None })
    }

    pub fn server(&self) -> ServerTls {
        self.server.clone()
    }

    pub fn client(&self) -> ClientTls {
        self.client.clone()
    }

    /// Until it is dropped. Files that cannot be used change nothing.
    pub async fn follow(mut self) {
        loop {
            self.warn(Instant::now());
            sleep(EVERY).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let files = self.files.clone();
        // An error: the runtime ends.
        let Ok(read) = tokio::task::spawn_blocking(move || read(&files)).await else { return };
        let fit = |identity: Identity| check(&self.files, identity.card(), &self.id).map(|()| identity);
        match read.map_err(|failure| failure.to_string()).and_then(fit) {
            Ok(identity) => self.take(identity),
            Err(why) if self.told.as_ref() == Some(&why) => {}
            Err(why) => {
                tracing::warn!(why, "the TLS files cannot be used, and all stays as it was");
                self.told = Some(why);
            }
        }
    }

    fn take(&mut self, identity: Identity) {
        self.told = None;
        if identity == self.now {
            return;
        }
        self.server.replace(identity.server());
        self.client.replace(identity.client());
        identity.observe();
        tracing::info!(certificate = %identity.card(), days = days_left(identity.card().until()), "the TLS files were replaced: new connections go by them");
        (self.now, self.warned) = (identity, None);
    }

    /// Says once a day what ends soon, and what to do.
    fn warn(&mut self, now: Instant) {
        let (certificate, authority) = (self.now.card().until(), self.now.authority_until());
        if !(ends_soon(certificate) || ends_soon(authority)) || self.warned.is_some_and(|at| now < at + DAY) {
            return;
        }
        self.warned = Some(now);
        let (cert, ca, id) = (self.files.cert.display(), self.files.ca.display(), &self.id);
        if ends_soon(certificate) {
            let todo = renewal(&self.files, id.as_str());
            tracing::warn!(file = %cert, days = days_left(certificate), todo, "this node's certificate ends soon: no peer will believe it then");
        }
        if ends_soon(authority) {
            let todo = "herring certs init --authority-only --dir NEW, and its ca.pem behind the old one on all nodes; then certificates of it";
            tracing::warn!(file = %ca, days = days_left(authority), todo, "the authority of the certificates ends soon");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::certs::{self, IssueArgs};

    struct Room(tempfile::TempDir);

    impl Room {
        fn new() -> Self {
            let room = Self(tempfile::tempdir().unwrap());
            certs::init(room.dir(), 10).unwrap();
            room
        }

        fn dir(&self) -> &Path {
            self.0.path()
        }

        fn files(&self, id: &str) -> TlsFiles {
            let at = |name: &str| self.dir().join(name);
            TlsFiles { cert: at(&format!("{id}.pem")), key: at(&format!("{id}.key")), ca: at("ca.pem") }
        }

        fn issue(&self, id: &str, hosts: &[&str], days: u16) -> TlsFiles {
            let address = hosts.iter().map(ToString::to_string).collect();
            let args = IssueArgs { id: id.parse().unwrap(), address, dir: self.dir().to_owned(), out: None, days, renew: true };
            certs::issue(&args).unwrap();
            self.files(id)
        }
    }

    fn tls(files: &TlsFiles, id: &str) -> Result<Tls, Failure> {
        Tls::new(files.clone(), read(files)?, id.parse().unwrap())
    }

    #[test]
    fn a_certificate_is_for_its_node_alone() {
        let room = Room::new();
        let files = room.issue("n9", &["10.0.0.9"], 5);
        tls(&files, "n9").unwrap();
        let why = tls(&files, "n1").err().unwrap().to_string();
        assert!(why.contains("is for n9, 10.0.0.9, not for this node, n1") && why.contains("herring certs issue n1"), "{why}");
        assert!(tls(&files, "7").err().unwrap().to_string().contains("cannot be in a certificate"));
    }

    #[test]
    fn a_node_without_a_name_has_that_of_its_certificate() {
        let room = Room::new();
        let id = |files: &TlsFiles| id_of(files, read(files).unwrap().card());
        assert_eq!(id(&room.issue("n9", &["10.0.0.9"], 5)).unwrap().as_str(), "n9");
        let why = id(&room.issue("n9", &["host.example"], 5)).unwrap_err().to_string();
        assert!(why.contains("n9, host.example: say with --id"), "{why}");
    }

    #[tokio::test]
    async fn files_that_are_replaced_are_taken_and_wrong_ones_change_nothing() {
        let room = Room::new();
        let files = room.issue("n1", &["10.0.0.1"], 5);
        let mut tls = tls(&files, "n1").unwrap();
        let first = tls.now.card().clone();
        // Half of a renewal, as a reader between two renames sees it.
        let key = std::fs::read(&files.key).unwrap();
        std::fs::copy(&room.issue("n2", &["10.0.0.2"], 5).key, &files.key).unwrap();
        tls.look().await;
        assert!(tls.told.as_ref().is_some_and(|why| why.contains("is not of the key in")), "{:?}", tls.told);
        std::fs::write(&files.key, key).unwrap();
        tls.look().await;
        assert_eq!((tls.told.as_ref(), tls.now.card()), (None, &first));
        // Another node's.
        let other = room.files("n2");
        std::fs::copy(&other.cert, &files.cert).unwrap();
        std::fs::copy(&other.key, &files.key).unwrap();
        tls.look().await;
        assert!(
            tls.told.as_ref().is_some_and(|why| why.contains("is for n2, 10.0.0.2, not for this node, n1")),
            "{:?}",
            tls.told
        );
        room.issue("n1", &["10.0.0.7"], 5);
        tls.look().await;
        assert_eq!((tls.told.as_ref(), tls.now.card().to_string().as_str()), (None, "n1, 10.0.0.7"));
    }

    #[tokio::test]
    async fn a_key_is_nobody_elses() {
        let room = Room::new();
        let files = room.issue("n1", &["10.0.0.1"], 5);
        let open_to = |mode| std::fs::set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            open_to(mode);
            let why = read(&files).unwrap_err().to_string();
            assert!(why.contains("n1.key: others may read it") && why.contains(&format!("mode {mode:o}")), "{why}");
        }
        open_to(0o400);
        let mut tls = tls(&files, "n1").unwrap();
        let first = tls.now.card().clone();
        // While it runs all stays as it was.
        room.issue("n1", &["10.0.0.7"], 5);
        open_to(0o644);
        tls.look().await;
        assert!(tls.told.as_ref().is_some_and(|why| why.contains("chmod 600")) && *tls.now.card() == first, "{:?}", tls.told);
    }

    #[test]
    fn what_ends_soon_is_told_once_a_day() {
        let room = Room::new();
        let mut tls = tls(&room.issue("n1", &["10.0.0.1"], 5), "n1").unwrap();
        assert!(ends_soon(tls.now.card().until()) && ends_soon(tls.now.authority_until()));
        let first = Instant::now();
        for (after, last) in [(Duration::ZERO, Duration::ZERO), (DAY / 2, Duration::ZERO), (DAY, DAY), (DAY * 3 / 2, DAY)] {
            tls.warn(first + after);
            assert_eq!(tls.warned, Some(first + last));
        }
    }

    #[test]
    fn what_has_ended_is_told_with_the_whole_command() {
        let room = Room::new();
        let why = |id: &str, host: &str, days| {
            let files = room.issue(id, &[host], days);
            // Else one that ended this very second could still be good.
            std::fs::write(&files.key, "no key").unwrap();
            open(&files, Some(&id.parse().unwrap())).unwrap_err().to_string()
        };
        assert!(!why("n8", "10.0.0.8", 5).contains("--renew"));
        let todo = why("n7", "10.0.0.7", 0);
        assert!(todo.contains("herring certs issue n7 --renew (if it was made with --out DIR, give that again)"), "{todo}");
        assert!(todo.contains(&format!("n7.key to {}", room.files("n7").key.display())), "{todo}");
    }
}
