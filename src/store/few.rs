//! A list that nearly always has one element, which then needs no allocation: the keys, commands and replies of a call.

use std::ops::{Deref, DerefMut};

#[derive(Clone, Debug)]
pub(crate) enum Few<T> {
    One([T; 1]),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(crate) const fn one(value: T) -> Self {
        Self::One([value])
    }

    pub(crate) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One([value]) => vec![value],
            Self::Many(values) => values,
        }
    }

    /// The last of them.
    pub(crate) fn into_last(self) -> Option<T> {
        match self {
            Self::One([value]) => Some(value),
            Self::Many(mut values) => values.pop(),
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Many(values)
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (Some(one), None) => Self::one(one),
            (first, second) => Self::Many(first.into_iter().chain(second).chain(values).collect()),
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => one,
            Self::Many(values) => values,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => one,
            Self::Many(values) => values,
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        match self {
            Self::One([value]) => IntoIter::One(Some(value)),
            Self::Many(values) => IntoIter::Many(values.into_iter()),
        }
    }
}

/// What [`Few`] gives away.
pub(crate) enum IntoIter<T> {
    One(Option<T>),
    Many(std::vec::IntoIter<T>),
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::One(value) => value.take(),
            Self::Many(values) => values.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Self::One(value) => usize::from(value.is_some()),
            Self::Many(values) => values.len(),
        };
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_a_list_of_one() {
        for few in [Few::one(7), Few::from(vec![7])] {
            assert_eq!((few.len(), few.first()), (1, Some(&7)));
            assert_eq!(few.clone().into_iter().len(), 1);
            assert_eq!(few.clone().into_iter().collect::<Vec<_>>(), [7]);
            assert_eq!(
                (few.clone().into_vec(), few.into_last()),
                (vec![7], Some(7))
            );
        }
        assert!(matches!([7].into_iter().collect(), Few::One([7])));
        assert_eq!((0..3).collect::<Few<_>>().into_vec(), [0, 1, 2]);
        assert_eq!(Few::from(vec![1, 2]).into_last(), Some(2));
        assert!(Few::<u8>::from(Vec::new()).is_empty());
    }
}
