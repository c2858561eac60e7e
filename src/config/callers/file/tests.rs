use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// How many lines say this.
    fn count(&self, text: &str) -> usize {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

fn file_with(text: &str) -> (TempDir, CallersFile) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    let around = Surroundings {
        tenants: BTreeSet::from(["t".to_owned()]),
        has_client_ca: true,
    };
    (directory, CallersFile::new(path, around))
}

/// Time passes only while nothing else is to be done, and no file is being read.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_again_for_as_long_as_it_is() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (_directory, file) = file_with("not = [toml");
    let path = file.path.clone();
    let callers = Callers::only(Vec::new()).unwrap();
    let follow = tokio::spawn(file.follow(callers.clone()));
    let stays = "the callers stay as they were";
    let minutes = |count: u32| sleep(count * COMPLAIN_AGAIN);
    minutes(3).await;
    assert_eq!((log.count(stays), log.count("is not TOML")), (3, 3));
    fs::write(&path, "callers = []").unwrap();
    minutes(3).await;
    assert_eq!(log.count(stays), 3);
    assert_eq!(log.count("the callers were read"), 1);
    fs::write(&path, "").unwrap();
    minutes(2).await;
    assert_eq!((log.count(stays), log.count("the file lists none")), (5, 2));
    assert!(!callers.are_everyone());
    follow.abort();
}
