//! Rules in YAML: in a list below `matches`, `match[]` or `whitelist`, as a list by itself, as a container's arguments, or
//! as any of these (or one selector a line) in a block of a `ConfigMap`.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{SourceParts, flags, piece::Piece};

/// Keys whose lists hold selectors.
const KEYS: [&str; 5] = ["matches", "match", "match[]", "whitelist", "--match"];
/// How deep YAML in a block of YAML is looked at.
const MAX_DEPTH: usize = 4;

pub(super) fn read(piece: &Piece, found: &mut SourceParts) {
    let before = found.rules.len() + found.faults.len();
    document(piece, 0, found);
    if found.rules.len() + found.faults.len() == before {
        let problem =
            "no rules in this YAML: neither a list below matches, match[] or whitelist, nor --match or --whitelist";
        found.faults.push((piece.offset(0), problem.to_owned()));
    }
}

/// What stands around a value.
enum YamlFrame {
    /// A list, the key it stands below, and whether its last value was a flag that waits for its own.
    List { below: Option<String>, after_flag: bool },
    /// A map, and the key whose value comes next.
    Map { key: Option<String> },
}

fn document(piece: &Piece, depth: usize, found: &mut SourceParts) {
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

/// Notes that a key or a value is over.
fn complete(frames: &mut [YamlFrame], text: &str) {
    if let Some(YamlFrame::Map { key }) = frames.last_mut() {
        *key = if key.is_none() { Some(text.to_owned()) } else { None };
    }
}

/// Whether the values of a list are selectors; of one that stands alone, too.
fn holds_rules(frame: &YamlFrame, depth: usize) -> bool {
    match frame {
        YamlFrame::List { below: Some(key), .. } => KEYS.contains(&key.as_str()),
        YamlFrame::List { below: None, .. } => depth == 1,
        YamlFrame::Map { .. } => false,
    }
}

/// Looks at one scalar, which may be a key.
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
        // A key.
        YamlFrame::Map { key: None } => {}
        YamlFrame::Map { key: Some(key) } if KEYS.contains(&key.as_str()) => found.lines(scalar),
        YamlFrame::Map { key: Some(key) } => block(key, scalar, depth, found),
    }
}

/// A file in a `ConfigMap`, or any other text of several lines.
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
        document(scalar, depth + 1, found);
    } else if text.lines().any(flags::has_flag) {
        flags::read(scalar, found);
    } else if [".txt", ".list", ".rules"].iter().any(|end| key.ends_with(end)) {
        found.lines(scalar);
    }
}

/// What a scalar says, with the place of each character.
fn scalar(piece: &Piece, value: &str, style: ScalarStyle, span: Span) -> Piece {
    let source = piece.chars();
    let is_space = |at: usize| source.get(at).is_some_and(|char| char.is_whitespace());
    let quotes = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
    let mut at = span.start.index() + usize::from(quotes);
    let mut positions = Vec::with_capacity(value.len() + 1);
    for char in value.chars() {
        // Lines are folded and indented: what is no white space in the value comes behind all of the source's.
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
