//! Our receipts of the cluster as values, over the ConfigMap that keeps them.

use std::collections::BTreeMap;

use rackwright_proto::cluster::ClusterLedger;

use super::store::{Store, Stored};
use super::{Api, KubeError, KubeFault};

/// The entry that holds the ledger.
const LEDGER: &str = "ledger.json";

/// The ledger with the version that its next writing is bound to.
pub struct Receipts {
    store: Store,
    stored: Option<Stored>,
    /// What is in effect by our doing.
    pub ledger: ClusterLedger,
}

/// The ledger alone.
///
/// # Errors
/// The API's refusal, or receipts that cannot be read.
pub async fn load(api: &Api) -> Result<ClusterLedger, KubeError> {
    Ok(Receipts::open(api).await?.ledger)
}

impl Receipts {
    /// Reads them.
    ///
    /// # Errors
    /// The API's refusal, or receipts that cannot be read.
    pub async fn open(api: &Api) -> Result<Self, KubeError> {
        let store = Store::new(api);
        let stored = store.load().await?;
        let text = stored.as_ref().and_then(|s| s.entries.get(LEDGER));
        let ledger = match text.map(|text| serde_json::from_str(text)) {
            None => ClusterLedger::default(),
            Some(Ok(ledger)) => ledger,
            Some(Err(source)) => {
                let doing = "read our receipts in ConfigMap kube-system/rackwright-receipts";
                return Err(KubeFault::Malformed { source }.at(doing));
            }
        };
        Ok(Self { store, stored, ledger })
    }

    /// Writes the ledger as it is now, unless it is stored so.
    ///
    /// # Errors
    /// The API's refusal, or somebody else wrote meanwhile.
    pub async fn save(&mut self) -> Result<(), KubeError> {
        // Values of these types always serialise.
        let text = serde_json::to_string(&self.ledger).unwrap_or_default();
        if self.stored.as_ref().and_then(|s| s.entries.get(LEDGER)) == Some(&text) {
            return Ok(());
        }
        let entries = BTreeMap::from([(LEDGER.to_owned(), text)]);
        self.stored = Some(self.store.save(self.stored.as_ref(), entries).await?);
        Ok(())
    }

    /// Removes them: nothing is in effect any more.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn remove(self) -> Result<(), KubeError> {
        match &self.stored {
            Some(stored) => self.store.delete(stored).await,
            None => Ok(()),
        }
    }
}
