//! Analysis of an expression: the values, prefixes and suffixes that it can match, found without running it.

use super::node::RegexNode;

/// The form of the values that an expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Every value (`.*`).
    Any,
    /// Every value but the empty one (`.+`).
    NonEmpty,
    /// Exactly these values.
    Exact(Vec<String>),
    /// Every value with this prefix (`abc.*`), followed by at least one character if `more` (`abc.+`).
    Prefix { prefix: String, more: bool },
    /// Every value with this suffix (`.*abc`), after at least one character if `more` (`.+abc`).
    Suffix { suffix: String, more: bool },
    /// Each matching value begins with one of `prefixes` and ends with one of `suffixes`; an empty list means unknown.
    Other { prefixes: Vec<String>, suffixes: Vec<String> },
}

/// The most strings that are listed for one expression.
const MAX_PRODUCT: usize = 128;
/// The most bytes that these strings may take.
const MAX_BYTES: usize = 256 << 10;

/// The form of the values that `node` matches; its outermost anchors are to be removed before.
pub(super) fn shape(node: &RegexNode) -> Shape {
    if node.is_any(0) {
        return Shape::Any;
    }
    if node.is_any(1) {
        return Shape::NonEmpty;
    }
    if let Some(mut values) = exact(node) {
        values.sort_unstable();
        values.dedup();
        return Shape::Exact(values);
    }
    if let RegexNode::Concat(nodes) = node
        && let [front @ .., last] = nodes.as_slice()
        && (last.is_any(0) || last.is_any(1))
        && let Some([prefix]) = exact_all(front).as_deref()
    {
        return Shape::Prefix { prefix: prefix.clone(), more: last.is_any(1) };
    }
    if let RegexNode::Concat(nodes) = node
        && let [first, back @ ..] = nodes.as_slice()
        && (first.is_any(0) || first.is_any(1))
        && let Some([suffix]) = exact_all(back).as_deref()
    {
        return Shape::Suffix { suffix: suffix.clone(), more: first.is_any(1) };
    }
    let suffixes = affixes(node, true).into_iter().map(|suffix| suffix.chars().rev().collect()).collect();
    Shape::Other { prefixes: affixes(node, false), suffixes }
}

/// All strings that match; `None` where they are too many to be listed.
fn exact(node: &RegexNode) -> Option<Vec<String>> {
    match node {
        RegexNode::Empty => Some(vec![String::new()]),
        RegexNode::Literal { char, fold: false } => Some(vec![char.to_string()]),
        RegexNode::Concat(nodes) => exact_all(nodes),
        RegexNode::Alternate(nodes) => {
            let mut all = Vec::new();
            for node in nodes {
                all.append(&mut exact(node)?);
            }
            small(&all).then_some(all)
        }
        RegexNode::Repeat { node, min: 0, max: Some(1) } => {
            let mut all = exact(node)?;
            all.push(String::new());
            Some(all)
        }
        RegexNode::Repeat { node, min, max: Some(max) } if min == max => {
            let once = exact(node)?;
            let mut all = vec![String::new()];
            (0..*min).all(|_| append(&mut all, &once)).then_some(all)
        }
        _ => None,
    }
}

/// All strings that match these nodes in sequence.
fn exact_all(nodes: &[RegexNode]) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for node in nodes {
        if !append(&mut all, &exact(node)?) {
            return None;
        }
    }
    Some(all)
}

/// Replaces `front` by each of its strings followed by each of `back`; `false`, and no change, where these are too many.
fn append(front: &mut Vec<String>, back: &[String]) -> bool {
    let longest = |texts: &[String]| texts.iter().map(String::len).max().unwrap_or(0);
    let count = front.len().saturating_mul(back.len());
    if let ([text], [one]) = (front.as_mut_slice(), back) {
        text.push_str(one);
        return true;
    }
    let few = count <= MAX_PRODUCT || front.len() == 1 || back.len() == 1;
    if !few || count.saturating_mul(longest(front) + longest(back)) > MAX_BYTES {
        return false;
    }
    *front = front.iter().flat_map(|text| back.iter().map(move |more| format!("{text}{more}"))).collect();
    true
}

fn small(texts: &[String]) -> bool {
    texts.iter().map(String::len).sum::<usize>() <= MAX_BYTES
}

/// The prefixes of all matching values or, `backwards`, their suffixes, reversed. Empty if they are not known.
fn affixes(node: &RegexNode, backwards: bool) -> Vec<String> {
    let (affixes, _) = affix(node, backwards);
    if affixes.iter().any(String::is_empty) { Vec::new() } else { affixes }
}

/// As [`affixes`], with the empty string for an unknown one; also whether the strings are whole values.
fn affix(node: &RegexNode, backwards: bool) -> (Vec<String>, bool) {
    let nothing = || (vec![String::new()], false);
    match node {
        RegexNode::Concat(nodes) => {
            let mut all = vec![String::new()];
            for index in 0..nodes.len() {
                let node = &nodes[if backwards { nodes.len() - 1 - index } else { index }];
                let (more, whole) = affix(node, backwards);
                // Where the product is too large, the shorter prefixes are still right.
                if !append(&mut all, &more) || !whole {
                    return (all, false);
                }
            }
            (all, true)
        }
        RegexNode::Alternate(nodes) => {
            let (mut all, mut whole) = (Vec::new(), true);
            for node in nodes {
                let (mut more, complete) = affix(node, backwards);
                all.append(&mut more);
                whole &= complete;
            }
            if small(&all) { (all, whole) } else { nothing() }
        }
        RegexNode::Repeat { node, min: 1.., .. } => (affix(node, backwards).0, false),
        _ => match exact(node) {
            Some(texts) if backwards => (texts.into_iter().map(|text| text.chars().rev().collect()).collect(), true),
            Some(texts) => (texts, true),
            None => nothing(),
        },
    }
}
