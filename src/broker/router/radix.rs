//! A radix tree over bytes: values by key, and all whose key a text begins with. Pure.

/// Values by key.
pub struct Radix<V> {
    root: Node<V>,
}

/// What is reached by one label. Only the root may have neither a value nor two children.
struct Node<V> {
    label: Box<[u8]>,
    value: Option<V>,
    // The first bytes of the children's labels, in which they all differ; sorted, as are the children. By themselves, so
    // that looking for one touches no other child.
    firsts: Vec<u8>,
    children: Vec<Node<V>>,
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
                    node.firsts.insert(at, rest[0]);
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

    /// Tells `found` the value of every key that `text` begins with, the shortest first.
    pub fn walk(&mut self, text: &[u8], mut found: impl FnMut(&mut V)) {
        let mut node = &mut self.root;
        let mut rest = text;
        loop {
            if let Some(value) = &mut node.value {
                found(value);
            }
            let Some(&byte) = rest.first() else { return };
            let Ok(at) = node.child(byte) else { return };
            node = &mut node.children[at];
            let Some(further) = rest.strip_prefix(&*node.label) else { return };
            rest = further;
        }
    }
}

impl<V> Node<V> {
    /// Without value and children.
    fn leaf(label: &[u8]) -> Self {
        Node { label: label.into(), value: None, firsts: Vec::new(), children: Vec::new() }
    }

    /// The child whose label begins so, or where it would be.
    fn child(&self, byte: u8) -> Result<usize, usize> {
        self.firsts.binary_search(&byte)
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
        self.firsts = vec![lower.label[0]];
        self.children = vec![lower];
    }

    /// As deep as the key has bytes, at most.
    fn remove(&mut self, key: &[u8]) -> Option<V> {
        let Some(&byte) = key.first() else { return self.value.take() };
        let at = self.child(byte).ok()?;
        let child = &mut self.children[at];
        let rest = key.strip_prefix(&*child.label)?;
        let value = child.remove(rest)?;
        if child.value.is_none() {
            match child.children.len() {
                0 => {
                    self.firsts.remove(at);
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
            assert!(self.firsts.is_sorted_by(|a, b| a < b));
            assert!(self.firsts.iter().eq(self.children.iter().map(|child| &child.label[0])));
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
                let mut found = Vec::new();
                tree.walk(key.as_bytes(), |value| found.push(*value));
                let expected: Vec<_> =
                    naive.iter().filter(|(known, _)| key.starts_with(*known)).map(|(_, value)| *value).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
