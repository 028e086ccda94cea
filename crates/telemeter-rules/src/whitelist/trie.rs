//! A radix trie: finds all keys that are a prefix of a text, in one pass over the text.

/// A map from byte strings to slots, as a tree whose edges are labelled with the bytes that keys share.
#[derive(Clone, Debug, Default)]
pub(super) struct Trie {
    /// The first node is the root. Empty as long as there are no keys.
    nodes: Vec<TrieNode>,
}

#[derive(Clone, Debug, Default)]
struct TrieNode {
    edge: Vec<u8>,
    slot: Option<u32>,
    /// The indices of the child nodes with the first byte of their edges, sorted by that byte.
    children: Vec<(u8, u32)>,
}

impl Trie {
    /// Adds a key with its slot, and replaces the slot of a key that is there already.
    pub(super) fn insert(&mut self, key: &[u8], slot: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(TrieNode::default());
        }
        let (mut at, mut rest) = (0, key);
        while let Some(&first) = rest.first() {
            match self.nodes[at].children.binary_search_by_key(&first, |&(byte, _)| byte) {
                Err(position) => {
                    let leaf = self.push(TrieNode { edge: rest.to_vec(), slot: Some(slot), children: Vec::new() });
                    self.nodes[at].children.insert(position, (first, leaf));
                    return;
                }
                Ok(position) => {
                    let child = self.nodes[at].children[position].1;
                    let edge = &mut self.nodes[child as usize].edge;
                    let shared = edge.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    let mut next = child;
                    if shared < edge.len() {
                        let lower = edge.split_off(shared);
                        let upper = std::mem::replace(edge, lower);
                        let below = edge[0];
                        next = self.push(TrieNode { edge: upper, slot: None, children: vec![(below, child)] });
                        self.nodes[at].children[position].1 = next;
                    }
                    at = next as usize;
                    rest = &rest[shared..];
                }
            }
        }
        self.nodes[at].slot = Some(slot);
    }

    fn push(&mut self, node: TrieNode) -> u32 {
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("fewer nodes than bytes of memory")
    }

    /// Calls `visit` with the slot of each key that is a prefix of a text, shortest first, until it returns `true`; whether
    /// it did. The text is given by its length and by a function from an index to a byte.
    #[inline]
    pub(super) fn any(&self, len: usize, byte: impl Fn(usize) -> u8, visit: &mut impl FnMut(usize) -> bool) -> bool {
        let Some(mut node) = self.nodes.first() else { return false };
        let mut read = 0;
        loop {
            if node.slot.is_some_and(|slot| visit(slot as usize)) {
                return true;
            }
            if read == len {
                return false;
            }
            let Ok(position) = node.children.binary_search_by_key(&byte(read), |&(first, _)| first) else {
                return false;
            };
            node = &self.nodes[node.children[position].1 as usize];
            if len - read < node.edge.len() || !node.edge.iter().enumerate().all(|(at, &want)| byte(read + at) == want)
            {
                return false;
            }
            read += node.edge.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_key_that_is_a_prefix() {
        let keys = ["a", "abc", "abd", "ab", "b", "abcdef", "", "xyz"];
        let check = |text: &str| {
            let mut trie = Trie::default();
            for (slot, key) in keys.iter().enumerate() {
                trie.insert(key.as_bytes(), u32::try_from(slot).expect("few"));
            }
            let mut found = Vec::new();
            trie.any(text.len(), |at| text.as_bytes()[at], &mut |slot| {
                found.push(keys[slot]);
                false
            });
            let mut expected: Vec<_> = keys.into_iter().filter(|key| text.starts_with(key)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text:?}");
        };
        for text in ["", "a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abd", "abe", "b", "ba", "x", "xyzz"] {
            check(text);
        }
    }

    #[test]
    fn an_empty_trie_finds_nothing() {
        assert!(!Trie::default().any(0, |_| 0, &mut |_| true));
    }
}
