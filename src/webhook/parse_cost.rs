//! What it costs to read a body: JSON takes many times its size in memory while it becomes an event.

/// What each byte costs: texts are copied into the tree, from there into the message, and from there into the event.
const BYTE: usize = 4;

/// What each value costs, in a `serde_json::Value` or a `google.protobuf.Value`, in a list that grows by doubling.
const VALUE: usize = 72;

/// What an object costs besides: a node of a B-tree has room for 11 members.
const OBJECT: usize = 720;

/// What a list costs besides: it begins with room for 4 values.
const LIST: usize = 180;

/// An upper bound on the memory that reading this JSON takes, in bytes. Bodies that are no JSON cost less.
pub(super) fn parse_cost(json: &[u8]) -> usize {
    let (mut cost, mut is_in_string, mut is_escaped) = (json.len() * BYTE, false, false);
    for byte in json {
        if is_in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_in_string = false,
                _ => {}
            }
            continue;
        }
        cost += match byte {
            b'"' => {
                is_in_string = true;
                0
            }
            b',' => VALUE,
            b'{' => OBJECT,
            b'[' => LIST,
            _ => 0,
        };
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_costs_its_length() {
        let of = |json: &str| parse_cost(json.as_bytes()) - BYTE * json.len();
        assert_eq!(of(r#""{[,\\""#), 0);
        assert_eq!(of(r#"["\"{[,",1]"#), LIST + VALUE);
        assert_eq!(of(r#"{"a":{},"b":"[,"}"#), 2 * OBJECT + VALUE);
    }
}
