//! Dictionaries, lists and values, and values of the wrong type.

use super::{child, children, in_green_threads, joined, manager};
use greenline_process::manager::{Dict, GetError, List, ManagerError, PutError, Queue, Value};

pub(crate) fn dict_is_shared() {
    let manager = manager();
    let dict: Dict<String, Vec<u32>> = manager.dict().unwrap();
    let key = |key: &str| key.to_string();
    assert_eq!(dict.insert(&key("a"), &vec![1]).unwrap(), None);
    assert_eq!(dict.insert(&key("a"), &vec![1, 2]).unwrap(), Some(vec![1]));
    let inside = dict.clone();
    joined([child(move || {
        assert_eq!(inside.get(&"a".into()).unwrap(), Some(vec![1, 2]));
        inside.insert(&"b".into(), &vec![3]).unwrap();
    })]);
    assert!(dict.contains_key(&key("b")).unwrap() && !dict.contains_key(&key("c")).unwrap());
    assert_eq!((dict.len().unwrap(), dict.is_empty().unwrap()), (2, false));
    assert_eq!(dict.keys().unwrap(), ["a", "b"]);
    assert_eq!(dict.values().unwrap(), [vec![1, 2], vec![3]]);
    assert_eq!(dict.items().unwrap(), [(key("a"), vec![1, 2]), (key("b"), vec![3])]);
    assert_eq!(dict.get(&key("c")).unwrap(), None);
    assert_eq!(dict.remove(&key("b")).unwrap(), Some(vec![3]));
    assert_eq!(dict.remove(&key("b")).unwrap(), None);
    assert_eq!(dict.update(&key("a"), |_| None).unwrap(), None);
    assert!(dict.is_empty().unwrap());
    dict.insert(&key("a"), &vec![]).unwrap();
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap());
}

pub(crate) fn list_is_shared() {
    let manager = manager();
    let list: List<String> = manager.list().unwrap();
    let text = |text: &str| text.to_string();
    assert_eq!(list.pop().unwrap(), None);
    list.push(&text("a")).unwrap();
    let inside = list.clone();
    joined([child(move || inside.extend(&["b".to_string(), "c".into()]).unwrap())]);
    assert_eq!(list.snapshot().unwrap(), ["a", "b", "c"]);
    assert_eq!(list.set(1, &text("B")).unwrap(), Some(text("b")));
    assert_eq!(list.set(3, &text("D")).unwrap(), None);
    assert_eq!((list.get(1).unwrap(), list.get(3).unwrap()), (Some(text("B")), None));
    assert!(list.insert(0, &text("-")).unwrap() && list.insert(4, &text("z")).unwrap());
    assert!(!list.insert(6, &text("?")).unwrap());
    assert_eq!(list.snapshot().unwrap(), ["-", "a", "B", "c", "z"]);
    assert_eq!((list.remove(0).unwrap(), list.remove(9).unwrap()), (Some(text("-")), None));
    assert_eq!(list.pop().unwrap(), Some(text("z")));
    assert_eq!(list.len().unwrap(), 3);
    list.clear().unwrap();
    assert!(list.is_empty().unwrap());
}

pub(crate) fn update_loses_no_change() {
    let manager = manager();
    let count: Value<u64> = manager.value(&0).unwrap();
    let words: Dict<String, u32> = manager.dict().unwrap();
    let (counter, inside) = (count.clone(), words.clone());
    joined(children(3, move || {
        in_green_threads(3, move || {
            for _ in 0..10 {
                counter.update(|n| n + 1).unwrap();
                inside.update(&"word".into(), |n| Some(n.unwrap_or(0) + 1)).unwrap();
            }
        });
    }));
    assert_eq!(count.get().unwrap(), 90);
    assert_eq!(words.get(&"word".into()).unwrap(), Some(90));
    assert_eq!(count.replace(&7).unwrap(), 90);
}

pub(crate) fn get_of_another_type_is_a_codec_error() {
    let manager = manager();
    let queue = manager.queue::<u64>(0).unwrap();
    let packed = postcard::to_allocvec(&queue).unwrap();
    let other: Queue<(String, String)> = postcard::from_bytes(&packed).unwrap();
    for n in [1, u64::MAX, 0] {
        queue.put(n).unwrap();
        assert!(matches!(other.get(), Err(GetError::Failed(ManagerError::Codec(_)))), "{n}");
    }
    // A byte is left over.
    let other: Queue<u8> = postcard::from_bytes(&packed).unwrap();
    queue.put(300).unwrap();
    let error = other.get().unwrap_err().to_string();
    assert!(error.contains("u8"), "{error}");
    // The queue still works.
    queue.put(5).unwrap();
    assert_eq!(queue.get().unwrap(), 5);
    // A message may be too large.
    let large = manager.queue::<String>(0).unwrap();
    let text = "x".repeat((1 << 28) + 1);
    assert!(matches!(large.put(text), Err(PutError::Failed { error: ManagerError::TooLarge { .. }, .. })));
    let text = "x".repeat(1 << 20);
    large.put(text.clone()).unwrap();
    assert_eq!(large.get().unwrap(), text);
}
