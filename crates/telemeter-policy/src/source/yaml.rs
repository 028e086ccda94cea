//! Parses rules in YAML: a list below `matches`, `match[]` or `whitelist`, a list alone, a container's arguments, or any of
//! these (or one selector per line) in a block of a `ConfigMap`.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{SourceParts, flags, piece::Piece};

/// Keys whose lists hold selectors.
const KEYS: [&str; 5] = ["matches", "match", "match[]", "whitelist", "--match"];
/// The deepest nesting of YAML documents in blocks of other YAML documents.
const MAX_DEPTH: usize = 4;

/// Parses all rules of a document; it is a fault if there are none.
pub(super) fn read(piece: &Piece, found: &mut SourceParts) {
    let before = found.rules.len() + found.faults.len();
    read_document(piece, 0, found);
    if found.rules.len() + found.faults.len() == before {
        let problem =
            "no rules in this YAML: neither a list below matches, match[] or whitelist, nor --match or --whitelist";
        found.faults.push((piece.offset(0), problem.to_owned()));
    }
}

/// A collection that is being parsed.
enum YamlFrame {
    /// A list, the key whose value it is, and whether its last element was a flag whose value comes next.
    List { below: Option<String>, after_flag: bool },
    /// A map, and the key whose value comes next.
    Map { key: Option<String> },
}

/// Parses the rules of one YAML document; `depth` is the number of documents around it. Rules and faults are added to
/// `found`; invalid YAML is a fault that ends this document.
fn read_document(piece: &Piece, depth: usize, found: &mut SourceParts) {
    let text = piece.text();
    let mut frames: Vec<YamlFrame> = Vec::new();
    for event in Parser::new_from_str(&text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let problem = format!("not YAML: {}", error.info());
                return found.faults.push((piece.offset(error.marker().index()), problem));
            }
        };
        match event {
            Event::SequenceStart(..) => {
                let below = match frames.last() {
                    Some(YamlFrame::Map { key }) => key.clone(),
                    _ => None,
                };
                frames.push(YamlFrame::List { below, after_flag: false });
            }
            Event::MappingStart(..) => frames.push(YamlFrame::Map { key: None }),
            Event::SequenceEnd | Event::MappingEnd => {
                frames.pop();
                complete(&mut frames, "");
            }
            Event::Alias(_) => {
                if frames.last().is_some_and(|frame| holds_rules(frame, frames.len())) {
                    let problem = "an alias (*name), which is not followed: write the selector out";
                    found.faults.push((piece.offset(span.start.index()), problem.to_owned()));
                }
                complete(&mut frames, "");
            }
            Event::Scalar(value, style, ..) => {
                let scalar = scalar(piece, &value, style, span);
                one(&scalar, &mut frames, depth, found);
                complete(&mut frames, &value);
            }
            _ => {}
        }
    }
}

/// Updates the innermost frame after a key or a value.
fn complete(frames: &mut [YamlFrame], text: &str) {
    if let Some(YamlFrame::Map { key }) = frames.last_mut() {
        *key = if key.is_none() { Some(text.to_owned()) } else { None };
    }
}

/// Whether the elements of a list are selectors. This includes a list that is the whole document.
fn holds_rules(frame: &YamlFrame, depth: usize) -> bool {
    match frame {
        YamlFrame::List { below: Some(key), .. } => KEYS.contains(&key.as_str()),
        YamlFrame::List { below: None, .. } => depth == 1,
        YamlFrame::Map { .. } => false,
    }
}

/// Adds the rule that one scalar holds, if it does: as an element of a list of rules, as the value of a flag or of a
/// key with rules, or in a block. A scalar that is a key adds nothing.
fn one(scalar: &Piece, frames: &mut [YamlFrame], depth: usize, found: &mut SourceParts) {
    let nesting = frames.len();
    let Some(frame) = frames.last_mut() else { return };
    let holds_rules = holds_rules(frame, nesting);
    match frame {
        YamlFrame::List { after_flag, .. } => {
            if std::mem::take(after_flag) {
                found.rule(scalar);
            } else if let Some(value) = flags::value_of(scalar) {
                found.rule(&value);
            } else if flags::is_bare_flag(scalar) {
                *after_flag = true;
            } else if scalar.text().lines().any(flags::has_flag) {
                flags::read(scalar, found);
            } else if holds_rules && !scalar.starts_with("-") {
                found.rule(scalar);
            }
        }
        // The scalar is a key.
        YamlFrame::Map { key: None } => {}
        YamlFrame::Map { key: Some(key) } if KEYS.contains(&key.as_str()) => found.lines(scalar),
        YamlFrame::Map { key: Some(key) } => block(key, scalar, depth, found),
    }
}

/// Parses the value of any other key: nested YAML, flags, or one rule a line, for which the key has to end as the name
/// of such a file. A value of one line, whose key is not the name of a file, is skipped.
fn block(key: &str, scalar: &Piece, depth: usize, found: &mut SourceParts) {
    let text = scalar.text();
    if !text.trim_end().contains('\n') && !key.contains('.') {
        return;
    }
    let has_key = |line: &str| {
        let line = line.trim_start_matches(['-', ' ', '"', '\'']);
        KEYS.iter()
            .any(|key| line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':')))
    };
    if depth < MAX_DEPTH && text.lines().any(has_key) {
        read_document(scalar, depth + 1, found);
    } else if text.lines().any(flags::has_flag) {
        flags::read(scalar, found);
    } else if [".txt", ".list", ".rules"].iter().any(|end| key.ends_with(end)) {
        found.lines(scalar);
    }
}

/// The value of a scalar, with the position of each character.
fn scalar(piece: &Piece, value: &str, style: ScalarStyle, span: Span) -> Piece {
    let source = piece.chars();
    let is_space = |at: usize| source.get(at).is_some_and(|char| char.is_whitespace());
    let quotes = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
    let mut at = span.start.index() + usize::from(quotes);
    let mut positions = Vec::with_capacity(value.len() + 1);
    for char in value.chars() {
        // Lines may be folded and indented: a visible character of the value comes after all white space of the source.
        if !char.is_whitespace() {
            loop {
                match (style, source.get(at), source.get(at + 1)) {
                    (ScalarStyle::DoubleQuoted, Some('\\'), Some('\n')) => at += 2,
                    _ if is_space(at) => at += 1,
                    _ => break,
                }
            }
        }
        positions.push(at);
        at += match (style, source.get(at), source.get(at + 1)) {
            (ScalarStyle::DoubleQuoted, Some('\\'), Some('x')) => 4,
            (ScalarStyle::DoubleQuoted, Some('\\'), Some('u')) => 6,
            (ScalarStyle::DoubleQuoted, Some('\\'), Some('U')) => 10,
            (ScalarStyle::DoubleQuoted, Some('\\'), _) | (ScalarStyle::SingleQuoted, Some('\''), _) => 2,
            _ if char.is_whitespace() && !is_space(at) => 0,
            _ => 1,
        };
    }
    positions.push(at);
    piece.decoded(value, &positions)
}
