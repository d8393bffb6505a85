//! The files that the AWS tools keep credentials and settings in, and what one profile of them says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ini::Ini;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

/// Credentials that end are written anew some minutes before: a question is signed with what the files said this long ago at most.
const BELIEVED: Duration = Duration::from_secs(30);

/// One profile in `~/.aws/credentials` and `~/.aws/config`, or in the files that `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` name.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    name: String,
    credentials: PathBuf,
    config: PathBuf,
}

impl Profile {
    /// `None` where there is no home directory to look in.
    pub fn find(name: Option<String>, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str, below_home: &str| {
            said(name).map(PathBuf::from).or_else(|| Some(PathBuf::from(said("HOME")?).join(".aws").join(below_home)))
        };
        Some(Self {
            name: name.or_else(|| said("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned()),
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            config: path("AWS_CONFIG_FILE", "config")?,
        })
    }

    /// What the profile says of `key`: the credentials' file is believed before the other, as the AWS tools do.
    pub fn setting(&self, key: &str) -> Option<String> {
        // In the config file all profiles but the default have a word before their name.
        let in_config = if self.name == "default" { self.name.clone() } else { format!("profile {}", self.name) };
        [(&self.credentials, &self.name), (&self.config, &in_config)].into_iter().find_map(|(path, section)| {
            let file = Ini::load_from_file_noescape(path).ok()?;
            let value = file.section(Some(section.as_str()))?.get(key)?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        })
    }

    /// `None` where the profile has no keys in these files.
    pub fn credential(&self) -> Option<AwsCredential> {
        Some(AwsCredential {
            key_id: self.setting("aws_access_key_id")?,
            secret_key: self.setting("aws_secret_access_key")?,
            token: self.setting("aws_session_token"),
        })
    }

    /// Why there are no keys, and what can be done.
    pub fn without_keys(&self) -> String {
        format!(
            "its profile {:?} has no aws_access_key_id and aws_secret_access_key in {} or {}: add them; of a profile that assumes a role, \
             signs on or runs a program, bring them by `aws configure export-credentials`",
            self.name,
            self.credentials.display(),
            self.config.display(),
        )
    }
}

/// A profile's keys, as they are in its files from time to time.
#[derive(Debug)]
pub(super) struct Keys {
    profile: Profile,
    read: Mutex<(Instant, Arc<AwsCredential>)>,
}

impl Keys {
    pub fn of(profile: Profile) -> Option<Self> {
        let credential = Arc::new(profile.credential()?);
        Some(Self { profile, read: Mutex::new((Instant::now(), credential)) })
    }
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    /// Two small files, from the page cache, twice a minute: no thread is worth it. What cannot be read is believed as it was.
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // Both halves are written at once.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0.elapsed() >= BELIEVED {
            let credential = self.profile.credential().map_or_else(|| Arc::clone(&read.1), Arc::new);
            *read = (Instant::now(), credential);
        }
        Ok(Arc::clone(&read.1))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn profile(home: &TempDir, name: Option<&str>, more: &[(&str, &str)]) -> Profile {
        let home = home.path().to_str().unwrap().to_owned();
        let variable = move |asked: &str| match asked {
            "HOME" => Some(home.clone()),
            _ => more.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned()),
        };
        Profile::find(name.map(ToOwned::to_owned), variable).unwrap()
    }

    fn home() -> TempDir {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| fs::write(home.path().join(".aws").join(name), text).unwrap();
        write(
            "credentials",
            "# of the team\n[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = a/b+c\\d=#e\n\n\
             [work]\naws_access_key_id=AKWORK\naws_secret_access_key=hush\naws_session_token=token==\n",
        );
        write(
            "config",
            "[default]\nregion = eu-west-1\ns3 =\n    addressing_style = path\n    max_concurrent_requests = 20\n\
             [profile work]\nregion=us-west-2\nendpoint_url = http://127.0.0.1:9000\n[profile sso]\nsso_session = x\n",
        );
        home
    }

    #[test]
    fn a_profile_is_found_as_the_aws_tools_find_it() {
        let home = home();
        let (default, work) = (profile(&home, None, &[]), profile(&home, Some("work"), &[]));
        let keys = default.credential().unwrap();
        assert_eq!((keys.key_id.as_str(), keys.secret_key.as_str(), keys.token), ("AKDEFAULT", "a/b+c\\d=#e", None));
        assert_eq!(default.setting("region").as_deref(), Some("eu-west-1"));
        let keys = work.credential().unwrap();
        assert_eq!((keys.key_id.as_str(), keys.token.as_deref()), ("AKWORK", Some("token==")));
        assert_eq!(work.setting("endpoint_url").as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(profile(&home, None, &[("AWS_PROFILE", "work")]).setting("region").as_deref(), Some("us-west-2"));
        assert_eq!(profile(&home, Some("default"), &[("AWS_PROFILE", "work")]).setting("region").as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn a_profile_without_keys_says_where_they_were_looked_for() {
        let home = home();
        for name in ["sso", "nobody"] {
            let profile = profile(&home, Some(name), &[("AWS_CONFIG_FILE", "/elsewhere")]);
            assert!(profile.credential().is_none());
            let why = profile.without_keys();
            assert!(why.contains(name) && why.contains(".aws/credentials") && why.contains("/elsewhere"), "{why}");
        }
        assert!(Profile::find(None, |_| None).is_none());
    }

    #[tokio::test]
    async fn keys_are_read_again_and_never_shown() {
        let home = home();
        let keys = Keys::of(profile(&home, Some("work"), &[])).unwrap();
        assert!(!format!("{keys:?}").contains("hush"));
        let old = || Instant::now().checked_sub(BELIEVED).unwrap();
        let path = home.path().join(".aws/credentials");
        fs::write(&path, "[work]\naws_access_key_id=AKNEW\naws_secret_access_key=new\n").unwrap();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "AKWORK");
        keys.read.lock().unwrap().0 = old();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "AKNEW");
        fs::remove_file(&path).unwrap();
        keys.read.lock().unwrap().0 = old();
        assert_eq!(keys.get_credential().await.unwrap().key_id, "AKNEW");
    }
}
