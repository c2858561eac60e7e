//! The place is remembered after what stands before it was printed.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use super::{
    harness::{Caught, Rig, caught_up, events, heartbeat, lost, opened, printed, starts},
    scripted_gateway::{Act, ScriptedGateway},
};

/// A writer that notes what the resume file holds at every write and every flush.
struct Witness {
    file: PathBuf,
    notes: Caught,
}

/// A writer that takes this many writes and refuses the next ones in this way.
struct Refusing {
    taken: usize,
    error: io::ErrorKind,
}

/// A writer that keeps all until it is flushed, and then fails.
struct FailingFlush;

impl Write for Witness {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = fs::read_to_string(&self.file).unwrap_or_else(|_| "nothing\n".to_owned());
        self.notes.write_all(held.as_bytes())
    }
}

impl Write for Refusing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.taken.checked_sub(1) {
            None => Err(self.error.into()),
            Some(left) => {
                self.taken = left;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for FailingFlush {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn two_messages() -> Vec<Vec<Act>> {
    vec![vec![
        opened("Opened"),
        events("First", &["evt_1"]),
        events("Second", &["evt_2"]),
        caught_up("Second"),
        Act::End,
    ]]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_stored_after_its_events_were_printed_and_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("place");
    let gateway = ScriptedGateway::start(two_messages()).await;
    let notes = Caught::default();
    let witness = Witness {
        file: file.clone(),
        notes: notes.clone(),
    };
    let rig = Rig::printing_to(Box::new(witness), notes, gateway.addr, Some(&file));
    let (ended, notes, _) = rig.run().await;
    assert_eq!(ended, Ok(()));
    assert_eq!(notes, "Opened\nOpened\nFirst\nFirst\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "Second\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_printed_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("place");
    let writers: [(Box<dyn Write + Send + Sync>, &str); 2] = [
        (
            Box::new(Refusing {
                taken: 1,
                error: io::ErrorKind::StorageFull,
            }),
            "First\n",
        ),
        (Box::new(FailingFlush), "Opened\n"),
    ];
    for (writer, expected) in writers {
        let gateway = ScriptedGateway::start(two_messages()).await;
        let rig = Rig::printing_to(writer, Caught::default(), gateway.addr, Some(&file));
        let problem = rig.run().await.0.unwrap_err();
        assert!(problem.starts_with("cannot print the events"), "{problem}");
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_away_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("place");
    let gateway = ScriptedGateway::start(two_messages()).await;
    let writer = Refusing {
        taken: 1,
        error: io::ErrorKind::BrokenPipe,
    };
    let out = Caught::default();
    let rig = Rig::printing_to(Box::new(writer), out, gateway.addr, Some(&file));
    assert_eq!(rig.run().await.0, Ok(()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "First\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_without_events_are_remembered_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("place");
    let script = vec![
        vec![opened("Opened"), heartbeat("Beat"), heartbeat(""), lost()],
        vec![Act::Fail(tonic::Status::data_loss("the end"))],
    ];
    let gateway = ScriptedGateway::start(script).await;
    let rig = Rig::new(gateway.addr, Some(&file));
    assert!(rig.run().await.0.is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "Beat\n");
    assert_eq!(
        starts(&gateway.requests()),
        ["START_POSITION_LATEST", "Beat"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_ends_it_after_the_event_was_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missing").join("place");
    let script = vec![vec![
        events("First", &["evt_1"]),
        events("Second", &["evt_2"]),
    ]];
    let gateway = ScriptedGateway::start(script).await;
    let (ended, out, _) = Rig::new(gateway.addr, Some(&file)).run().await;
    let problem = ended.unwrap_err();
    assert!(
        problem.starts_with("cannot write the resume file"),
        "{problem}"
    );
    assert_eq!(printed(&out), ["evt_1"]);
}
