//! What can be said of the values that match without running the expression.

use super::node::RegexNode;

/// What the values that match look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Every value (`.*`).
    Any,
    /// Every value but the empty one (`.+`).
    NonEmpty,
    /// Exactly these.
    Exact(Vec<String>),
    /// Everything that begins so (`abc.*`), with at least one character behind it if `more` (`abc.+`).
    Prefix { prefix: String, more: bool },
    /// Everything that ends so (`.*abc`), with at least one character before it if `more` (`.+abc`).
    Suffix { suffix: String, more: bool },
    /// All that match begin with one of `prefixes` and end with one of `suffixes`; an empty list says nothing.
    Other { prefixes: Vec<String>, suffixes: Vec<String> },
}

/// How many strings a product may come to, and how many bytes they may take.
const MAX_PRODUCT: usize = 128;
const MAX_BYTES: usize = 256 << 10;

/// Looks at an expression whose outermost anchors are gone.
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

/// All strings that match, where they are few.
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

fn exact_all(nodes: &[RegexNode]) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for node in nodes {
        if !append(&mut all, &exact(node)?) {
            return None;
        }
    }
    Some(all)
}

/// Makes of `front` every one of it followed by every one of `back`; false, and nothing done, where that is too much.
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

/// What all matches begin with; or end with, written backwards. Empty if that says nothing.
fn affixes(node: &RegexNode, backwards: bool) -> Vec<String> {
    let (affixes, _) = affix(node, backwards);
    if affixes.iter().any(String::is_empty) { Vec::new() } else { affixes }
}

/// The same, and whether the strings are the whole of what `node` matches.
fn affix(node: &RegexNode, backwards: bool) -> (Vec<String>, bool) {
    let nothing = || (vec![String::new()], false);
    match node {
        RegexNode::Concat(nodes) => {
            let mut all = vec![String::new()];
            for index in 0..nodes.len() {
                let node = &nodes[if backwards { nodes.len() - 1 - index } else { index }];
                let (more, whole) = affix(node, backwards);
                // What is known so far still holds where the product is too much.
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
