//! The files of a port that speaks TLS.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::authority::Identity;

/// `cert.pem` and `key.pem`, and whatever a test puts beside them.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, identity: &Identity) {
        fs::write(self.path("key.pem"), &identity.key).unwrap();
        fs::write(self.path("cert.pem"), &identity.cert).unwrap();
    }
}
