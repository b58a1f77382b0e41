//! Any calls of RUN's, answered by the supervisor of `mediated` isolation: no panic, and nothing outside of the root is
//! touched.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use yadokari::isolation::AnyCalls;

thread_local! {
    static CALLS: RefCell<AnyCalls> = {
        let directory = std::env::temp_dir().join(format!("calls-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory of our own");
        RefCell::new(AnyCalls::new(&directory).expect("a process of our own"))
    };
}

fuzz_target!(|bytes: &[u8]| CALLS.with(|calls| calls.borrow_mut().answer(bytes)));
