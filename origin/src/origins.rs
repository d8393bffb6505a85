use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ConfigError, Origin, OriginSpec};

/// All configured origins by name. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    by_name: Arc<BTreeMap<String, Origin>>,
}

impl Origins {
    /// Asks no network; looks whether directories exist.
    pub fn new(specs: impl IntoIterator<Item = OriginSpec>) -> Result<Self, ConfigError> {
        let mut by_name = BTreeMap::new();
        for spec in specs {
            let origin = Origin::new(&spec)?;
            if by_name.insert(spec.name().to_owned(), origin).is_some() {
                return Err(ConfigError::Twice(spec.name().to_owned()));
            }
        }
        Ok(Self { by_name: Arc::new(by_name) })
    }

    /// In alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&Origin> {
        self.by_name.get(name)
    }
}
