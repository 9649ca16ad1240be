//! A radix tree over bytes: values by key, and all whose key a text begins with. Pure.
//!
//! What a walk costs is waiting for memory. So texts are looked up together, each a step at a time: while one waits, the
//! processor goes on with the others. And a node says by itself which children it has, with a set of bytes as in array
//! mapped tries (Bagwell, Ideal Hash Trees, 2001), and a label of one byte is not looked at again.

/// Values by key.
pub struct Radix<V> {
    root: Node<V>,
}

/// What is reached by one label. Only the root may have neither a value nor two children.
struct Node<V> {
    label: Box<[u8]>,
    // Apart: most walks that come by want only the way on.
    value: Option<Box<V>>,
    // The first bytes of the children's labels, in which they all differ; the children are in their order.
    firsts: ByteSet,
    children: Vec<Node<V>>,
}

/// Some of the 256 bytes.
#[derive(Clone, Copy, Default)]
struct ByteSet([u64; 4]);

impl ByteSet {
    /// How many smaller ones it has: Ok if it has this one too.
    fn rank(&self, byte: u8) -> Result<usize, usize> {
        let (word, bit) = (usize::from(byte >> 6), 1 << (byte & 63));
        let before = self.0[..word].iter().map(|word| word.count_ones()).sum::<u32>();
        let rank = (before + (self.0[word] & (bit - 1)).count_ones()) as usize;
        if self.0[word] & bit != 0 { Ok(rank) } else { Err(rank) }
    }

    /// Puts it in, or takes it out.
    fn toggle(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] ^= 1 << (byte & 63);
    }
}

impl<V> Default for Radix<V> {
    fn default() -> Self {
        Radix { root: Node::leaf(&[]) }
    }
}

impl<V: Default> Radix<V> {
    /// The value of a key; made if there is none.
    pub fn entry(&mut self, key: &[u8]) -> &mut V {
        let mut node = &mut self.root;
        let mut rest = key;
        while !rest.is_empty() {
            let at = match node.child(rest[0]) {
                Ok(at) => at,
                Err(at) => {
                    node.firsts.toggle(rest[0]);
                    node.children.insert(at, Node::leaf(rest));
                    at
                }
            };
            node = &mut node.children[at];
            let common = common(&node.label, rest);
            if common < node.label.len() {
                node.split(common);
            }
            rest = &rest[common..];
        }
        node.value.get_or_insert_default()
    }
}

impl<V> Radix<V> {
    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.root.value.is_none() && self.root.children.is_empty()
    }

    /// Takes a key's value out.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.root.remove(key)
    }

    /// Tells `found` the value of every key that a text begins with, and which of the texts. Of one text the shortest comes
    /// first; of one value the first text.
    pub fn walk<'t>(&self, texts: impl Iterator<Item = &'t [u8]>, mut found: impl FnMut(usize, &V)) {
        if self.is_empty() {
            return;
        }
        let mut ways: Vec<_> = texts.enumerate().map(|(at, text)| (at, text, &self.root)).collect();
        while !ways.is_empty() {
            ways.retain_mut(|(at, rest, node)| {
                if let Some(value) = &node.value {
                    found(*at, value);
                }
                node.step(rest).map(|further| (*node, *rest) = further).is_some()
            });
        }
    }
}

impl<V> Node<V> {
    /// Without value and children.
    fn leaf(label: &[u8]) -> Self {
        Node { label: label.into(), value: None, firsts: ByteSet::default(), children: Vec::new() }
    }

    /// The child that a text leads to, and what is left of the text.
    fn step<'t>(&self, text: &'t [u8]) -> Option<(&Self, &'t [u8])> {
        let child = &self.children[self.child(*text.first()?).ok()?];
        let length = child.label.len();
        // The first byte is the same.
        let matches = length == 1 || text.starts_with(&child.label);
        matches.then(|| (child, &text[length..]))
    }

    /// The child whose label begins so, or where it would be.
    fn child(&self, byte: u8) -> Result<usize, usize> {
        self.firsts.rank(byte)
    }

    /// Puts a node between this one's parent and what it was; its label has `length` bytes.
    fn split(&mut self, length: usize) {
        let lower = Node {
            label: self.label[length..].into(),
            value: self.value.take(),
            firsts: std::mem::take(&mut self.firsts),
            children: std::mem::take(&mut self.children),
        };
        self.label = self.label[..length].into();
        self.firsts.toggle(lower.label[0]);
        self.children = vec![lower];
    }

    /// As deep as the key has bytes, at most.
    fn remove(&mut self, key: &[u8]) -> Option<V> {
        let Some(&byte) = key.first() else { return self.value.take().map(|value| *value) };
        let at = self.child(byte).ok()?;
        let child = &mut self.children[at];
        let rest = key.strip_prefix(&*child.label)?;
        let value = child.remove(rest)?;
        if child.value.is_none() {
            match child.children.len() {
                0 => {
                    self.firsts.toggle(byte);
                    self.children.remove(at);
                }
                1 => child.merge(),
                _ => {}
            }
        }
        Some(value)
    }

    /// Becomes one with its only child.
    fn merge(&mut self) {
        let Some(only) = self.children.pop() else { return };
        self.label = [&*self.label, &*only.label].concat().into();
        self.value = only.value;
        self.firsts = only.firsts;
        self.children = only.children;
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl<V> Node<V> {
        fn check(&self) {
            for child in &self.children {
                assert!(!child.label.is_empty() && (child.value.is_some() || child.children.len() >= 2));
                child.check();
            }
            let firsts = (0..=u8::MAX).filter(|byte| self.child(*byte).is_ok());
            assert!(firsts.eq(self.children.iter().map(|child| child.label[0])));
        }
    }

    proptest! {
        #[test]
        fn does_what_a_map_does(steps in proptest::collection::vec(("[abä]{0,5}", any::<bool>()), 1..80)) {
            let mut tree = Radix::<u32>::default();
            let mut naive = BTreeMap::<String, u32>::new();
            for (key, insert) in steps {
                if insert {
                    *tree.entry(key.as_bytes()) += 1;
                    *naive.entry(key.clone()).or_default() += 1;
                } else {
                    prop_assert_eq!(tree.remove(key.as_bytes()), naive.remove(&key));
                }
                tree.root.check();
                prop_assert_eq!(tree.is_empty(), naive.is_empty());
                let texts = ["b", &key, "", &key];
                let mut found = vec![Vec::new(); texts.len()];
                tree.walk(texts.iter().map(|text| text.as_bytes()), |at, value| found[at].push(*value));
                for (text, found) in texts.iter().zip(found) {
                    let expected: Vec<_> =
                        naive.iter().filter(|(known, _)| text.starts_with(*known)).map(|(_, value)| *value).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
