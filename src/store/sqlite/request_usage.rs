//! What request records take of the file. It is estimated from what each row holds; the running total is the
//! writer's, and is added up again when the file is opened.

use rusqlite::Connection;

use crate::store::{StoredRequest, Summary};

/// What a record takes besides its texts and its answer: two rows and their entries in two indexes, of which the one
/// by id is filled in random order. It is counted in full when the request begins, so that its end always fits.
pub(super) const RECORD_BYTES: i64 = 224;

/// What an answer takes besides its bytes: pages are not filled to the end, above all by answers of about half a page.
const PADDING_PART: i64 = 8;
const PADDED_BYTES: i64 = 1200;
const PADDED_PART: i64 = 4;

/// What a record takes without its answer, and its answer, as SQL over the joined tables. The same as
/// [`Usage::begin`], [`Usage::end`] and [`answer_bytes`].
const COLUMNS: &str = "\
    224 + 2 * length(CAST(caller AS BLOB)) + length(CAST(rpc AS BLOB)) \
        + coalesce(length(CAST(result_id AS BLOB)) + length(CAST(reason AS BLOB)), 0) AS id_bytes, \
    coalesce(length(answer) + length(answer) / 8 + min(length(answer), 1200) / 4, 0) AS answer_bytes \
    FROM requests LEFT JOIN request_ends USING (number)";

/// What all records take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) records: i64,
    /// What would be left if every answer were evicted.
    pub(super) id_bytes: i64,
    pub(super) answer_bytes: i64,
}

impl Usage {
    /// Adds up what the file holds.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let sums = format!(
            "SELECT count(*), coalesce(sum(id_bytes), 0), coalesce(sum(answer_bytes), 0) FROM (SELECT {COLUMNS})"
        );
        connection.query_row(&sums, [], |row| {
            Ok(Usage {
                records: row.get(0)?,
                id_bytes: row.get(1)?,
                answer_bytes: row.get(2)?,
            })
        })
    }

    /// All of it, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.id_bytes + self.answer_bytes).unwrap_or(0)
    }

    /// Whether a new record fits once enough answers are evicted.
    pub(super) fn has_room(&self, bound: u64) -> bool {
        u64::try_from(self.id_bytes + RECORD_BYTES).unwrap_or(0) <= bound
    }

    /// A request was recorded.
    pub(super) fn begin(&mut self, record: &StoredRequest) {
        let names = 2 * record.key.caller.len() + record.content.rpc.len();
        self.records += 1;
        self.id_bytes += RECORD_BYTES + names as i64;
    }

    /// Its end was recorded.
    pub(super) fn end(&mut self, record: &StoredRequest) {
        self.id_bytes += summary_bytes(&record.summary);
        self.answer_bytes += answer_bytes(record.answer.len());
    }

    /// An answer was evicted, and its record stayed.
    pub(super) fn evict(&mut self, before: &StoredRequest, after: &StoredRequest) {
        self.id_bytes += summary_bytes(&after.summary) - summary_bytes(&before.summary);
        self.answer_bytes -= answer_bytes(before.answer.len());
    }

    /// The record with this number is about to be removed.
    pub(super) fn remove(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        let mut select =
            connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE number = ?"))?;
        let mut rows = select.query([number])?;
        // An end whose request is gone was never counted.
        if let Some(row) = rows.next()? {
            self.records -= 1;
            // What is damaged was counted as nothing.
            self.id_bytes -= row.get_ref(0)?.as_i64().unwrap_or_default();
            self.answer_bytes -= row.get_ref(1)?.as_i64().unwrap_or_default();
        }
        Ok(())
    }
}

fn summary_bytes(summary: &Summary) -> i64 {
    (summary.result_id.len() + summary.reason.len()) as i64
}

fn answer_bytes(length: usize) -> i64 {
    let length = length as i64;
    length + length / PADDING_PART + length.min(PADDED_BYTES) / PADDED_PART
}
