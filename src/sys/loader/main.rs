//! The loader of `mediated` isolation: what the kernel executes in the place of every program of a RUN.
//!
//! A program of its own, linked to an address where no other program is, without a library. It asks the supervisor for
//! the descriptors of the wanted program and of its interpreter, maps them as the kernel would, mends what the kernel has
//! put on the stack, and jumps. Sources: Linux, fs/binfmt_elf.c; the System V ABI for x86-64; ld.so(8); getauxval(3).
//!
//! *Invariant: it trusts nothing but the supervisor's answer; a program that it cannot map ends with status 126, as in a
//! shell.*

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

/// What the supervisor answers; the same layout stands in `isolation/mediated/exec.rs`.
#[repr(C)]
struct Load {
    program: i32,
    /// Minus one where the program has none.
    interpreter: i32,
    /// The file of the page that only the supervisor writes.
    page: i32,
    /// How many of `strings` come before the program's arguments (a script's interpreter and its argument).
    prefix: i32,
    /// How many of the program's own arguments they replace.
    drop: i32,
    secure: i32,
    ids: [u32; 4],
    page_address: u64,
    page_length: u64,
    name: [u8; 16],
    /// What `AT_EXECFN` says, then the prefix: each ends with a zero.
    strings: [u8; 16 * 1024],
}

const ASK: u64 = 0x7961_646f;

const PREAD: u64 = 17;
const CLOSE: u64 = 3;
const MMAP: u64 = 9;
const MUNMAP: u64 = 11;
const PRCTL: u64 = 157;
const EXIT_GROUP: u64 = 231;

const PR_SET_NAME: u64 = 15;
const PROT_READ: u64 = 1;
const MAP_SHARED: u64 = 1;
const MAP_PRIVATE_FIXED: u64 = 0x12;
const MAP_PRIVATE_FIXED_ANONYMOUS: u64 = 0x32;
const MAP_RESERVED: u64 = 0x4022;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;
const PAGE: u64 = 4096;

const PT_LOAD: u32 = 1;
const PT_PHDR: u32 = 6;
const ET_DYN: u16 = 3;
const HEADERS: usize = 64;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    in_file: u64,
    in_memory: u64,
    alignment: u64,
}

const NO_HEADER: Header =
    Header { kind: 0, flags: 0, offset: 0, address: 0, physical: 0, in_file: 0, in_memory: 0, alignment: 0 };

/// A program that is mapped.
struct Mapped {
    entry: u64,
    bias: u64,
    headers: u64,
    count: u64,
}

static mut LOAD: Load = Load {
    program: 0,
    interpreter: 0,
    page: 0,
    prefix: 0,
    drop: 0,
    secure: 0,
    ids: [0; 4],
    page_address: 0,
    page_length: 0,
    name: [0; 16],
    strings: [0; 16 * 1024],
};

/// Makes a system call.
///
/// # Safety
/// The call must be one that the rest of the program can live with.
unsafe fn call(number: u64, arguments: [u64; 6]) -> u64 {
    let result;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the registers are those of the kernel's convention, and what it changes is named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

fn die() -> ! {
    loop {
        // SAFETY: the call ends the process.
        unsafe { call(EXIT_GROUP, [126, 0, 0, 0, 0, 0]) };
    }
}

fn failed(result: u64) -> bool {
    result > u64::MAX - 4096
}

/// Reads exactly `length` bytes of a file to `to`.
///
/// # Safety
/// There must be room for them.
unsafe fn read(file: i32, to: *mut u8, length: usize, offset: u64) {
    // SAFETY: the caller has said that there is room.
    let got = unsafe { call(PREAD, [file as u64, to as u64, length as u64, offset, 0, 0]) };
    if got != length as u64 {
        die();
    }
}

fn down(address: u64) -> u64 {
    address & !(PAGE - 1)
}

fn up(address: u64) -> u64 {
    (address + PAGE - 1) & !(PAGE - 1)
}

/// Maps a program or an interpreter.
///
/// # Safety
/// Nothing of the loader's may be where the program wants to be.
unsafe fn map(file: i32) -> Mapped {
    let mut start = [0_u8; 64];
    // SAFETY: the buffer is that long.
    unsafe { read(file, start.as_mut_ptr(), 64, 0) };
    let word = |at: usize| u64::from_le_bytes([
        start[at], start[at + 1], start[at + 2], start[at + 3], start[at + 4], start[at + 5], start[at + 6], start[at + 7],
    ]);
    let half = |at: usize| u16::from_le_bytes([start[at], start[at + 1]]);
    let (entry, table, count) = (word(24), word(32), half(56) as usize);
    if count > HEADERS || half(54) != 56 {
        die();
    }
    let mut headers = [NO_HEADER; HEADERS];
    // SAFETY: `count` of these structures are 56 bytes each, and there is room for so many.
    unsafe { read(file, headers.as_mut_ptr().cast(), count * 56, table) };
    let loaded = || headers[..count].iter().filter(|header| header.kind == PT_LOAD);
    let mut bias = 0;
    if half(16) == ET_DYN {
        // SAFETY: an address that the kernel chooses replaces nothing.
        bias = unsafe { reserve(loaded) };
    }
    let mut found = Mapped { entry: bias + entry, bias, headers: 0, count: count as u64 };
    for header in &headers[..count] {
        if header.kind == PT_PHDR {
            found.headers = bias + header.address;
        }
    }
    for header in loaded() {
        let holds = table >= header.offset && table < header.offset + header.in_file;
        if found.headers == 0 && holds {
            found.headers = bias + header.address + (table - header.offset);
        }
        // SAFETY: the place was reserved, or is the program's own by its headers.
        unsafe { map_segment(file, header, bias) };
    }
    found
}

/// Finds room for all segments, and returns what is to be added to their addresses.
///
/// # Safety
/// None beyond what the kernel does by itself: it chooses the place.
unsafe fn reserve<'a, I: Iterator<Item = &'a Header>>(loaded: impl Fn() -> I) -> u64 {
    let (mut low, mut high, mut alignment) = (u64::MAX, 0, PAGE);
    for header in loaded() {
        low = low.min(down(header.address));
        high = high.max(up(header.address + header.in_memory));
        alignment = alignment.max(header.alignment);
    }
    if high <= low {
        die();
    }
    let length = high - low;
    // SAFETY: with no address given nothing is replaced.
    let found = unsafe { call(MMAP, [0, length + alignment, 0, MAP_RESERVED, u64::MAX, 0]) };
    if failed(found) {
        die();
    }
    let start = (found + alignment - 1) & !(alignment - 1);
    // SAFETY: these parts were mapped a moment ago, and nobody uses them.
    unsafe {
        if start > found {
            call(MUNMAP, [found, start - found, 0, 0, 0, 0]);
        }
        if found + alignment > start {
            call(MUNMAP, [start + length, found + alignment - start, 0, 0, 0, 0]);
        }
    }
    start.wrapping_sub(low)
}

/// # Safety
/// Nothing of the loader's may be there.
unsafe fn map_segment(file: i32, header: &Header, bias: u64) {
    let protection = u64::from(header.flags & 4 != 0)
        | u64::from(header.flags & 2 != 0) << 1
        | u64::from(header.flags & 1 != 0) << 2;
    let address = bias + header.address;
    let start = down(address);
    let lead = address - start;
    let (file_end, memory_end) = (address + header.in_file, address + header.in_memory);
    let mut mapped_end = start;
    if header.in_file > 0 {
        let arguments =
            [start, header.in_file + lead, protection, MAP_PRIVATE_FIXED, file as u64, header.offset.wrapping_sub(lead)];
        // SAFETY: the caller has said that the place is free.
        if unsafe { call(MMAP, arguments) } != start {
            die();
        }
        mapped_end = up(file_end);
        if memory_end > file_end && protection & 2 != 0 {
            // SAFETY: the rest of the last page was mapped for writing.
            unsafe { core::ptr::write_bytes(file_end as *mut u8, 0, (mapped_end - file_end) as usize) };
        }
    }
    if up(memory_end) > mapped_end {
        let arguments =
            [mapped_end, up(memory_end) - mapped_end, protection, MAP_PRIVATE_FIXED_ANONYMOUS, u64::MAX, 0];
        // SAFETY: the caller has said that the place is free.
        if unsafe { call(MMAP, arguments) } != mapped_end {
            die();
        }
    }
}

/// The first Rust code: `stack` is what the kernel has left.
///
/// # Safety
/// To be called once, by `_start`.
#[unsafe(no_mangle)]
unsafe extern "C" fn load(stack: *mut u64) -> ! {
    let load = &raw mut LOAD;
    // SAFETY: one thread, and `load` is a static of the size that the supervisor writes; the descriptors are those that it
    // has given.
    unsafe {
        if failed(call(PRCTL, [ASK, load as u64, size_of::<Load>() as u64, 0, 0, 0])) {
            die();
        }
        let (address, length) = ((*load).page_address, (*load).page_length);
        let flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
        if call(MMAP, [address, length, PROT_READ, flags, (*load).page as u64, 0]) != address {
            die();
        }
        call(CLOSE, [(*load).page as u64, 0, 0, 0, 0, 0]);
        let program = map((*load).program);
        call(CLOSE, [(*load).program as u64, 0, 0, 0, 0, 0]);
        let mut interpreter = Mapped { entry: program.entry, bias: 0, headers: 0, count: 0 };
        if (*load).interpreter >= 0 {
            interpreter = map((*load).interpreter);
            call(CLOSE, [(*load).interpreter as u64, 0, 0, 0, 0, 0]);
        }
        call(PRCTL, [PR_SET_NAME, (&raw const (*load).name) as u64, 0, 0, 0, 0]);
        let stack = arrange(load, stack, &program, &interpreter);
        jump(stack, interpreter.entry)
    }
}

/// Puts the arguments in order and mends what the kernel tells of the program; returns the new stack.
///
/// # Safety
/// `stack` must be what the kernel gives to a new program.
unsafe fn arrange(load: *mut Load, stack: *mut u64, program: &Mapped, interpreter: &Mapped) -> *mut u64 {
    // SAFETY: the kernel ends each of the three lists with a zero, and there is room below the stack.
    unsafe {
        let count = *stack as usize;
        let arguments = stack.add(1);
        let environment = arguments.add(count + 1);
        let mut facts = environment;
        while *facts != 0 {
            facts = facts.add(1);
        }
        facts = facts.add(1);
        let mut end = facts;
        while *end != 0 {
            end = end.add(2);
        }
        end = end.add(2);
        let strings = (&raw mut (*load).strings).cast::<u8>();
        mend(load, facts, program, interpreter, strings);
        let (prefix, dropped) = ((*load).prefix as usize, ((*load).drop as usize).min(count));
        if prefix == 0 && dropped == 0 {
            return stack;
        }
        // The stack stays a multiple of 16: where it would not, all that follows moves by a word.
        let odd = (prefix + dropped) & 1;
        let rest = arguments.add(dropped);
        if odd != 0 {
            core::ptr::copy(rest, rest.sub(1), end.offset_from(rest) as usize);
        }
        let mut string = after(strings);
        let first = rest.sub(odd + prefix);
        for index in 0..prefix {
            first.add(index).write(string as u64);
            string = after(string);
        }
        let new = first.sub(1);
        new.write((count - dropped + prefix) as u64);
        new
    }
}

/// # Safety
/// `string` must end with a zero.
unsafe fn after(mut string: *mut u8) -> *mut u8 {
    // SAFETY: the caller has said so.
    unsafe {
        while *string != 0 {
            string = string.add(1);
        }
        string.add(1)
    }
}

/// # Safety
/// `facts` must be the auxiliary vector, which ends with a zero.
unsafe fn mend(load: *mut Load, mut facts: *mut u64, program: &Mapped, interpreter: &Mapped, name: *mut u8) {
    // SAFETY: the caller has said so.
    unsafe {
        while *facts != 0 {
            let value = match *facts {
                3 => Some(program.headers),
                4 => Some(56),
                5 => Some(program.count),
                7 => Some(interpreter.bias),
                9 => Some(program.entry),
                kind @ 11..=14 => Some(u64::from((*load).ids[kind as usize - 11])),
                23 => Some((*load).secure as u64),
                31 => Some(name as u64),
                _ => None,
            };
            if let Some(value) = value {
                facts.add(1).write(value);
            }
            facts = facts.add(2);
        }
    }
}

/// # Safety
/// `stack` must be what a new program expects, and `entry` where it begins.
unsafe fn jump(stack: *mut u64, entry: u64) -> ! {
    // SAFETY: the caller has said so; rdx of zero tells the program that there is nothing to call at its end.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor edx, edx",
            "xor ebp, ebp",
            "jmp {entry}",
            stack = in(reg) stack,
            entry = in(reg) entry,
            options(noreturn),
        )
    }
}

// What the kernel has put on the stack grows by a few words, so that our own is further below.
global_asm!(
    ".globl _start",
    "_start:",
    "mov rdi, rsp",
    "sub rsp, 4096",
    "and rsp, -16",
    "call {load}",
    load = sym load,
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    die()
}

// What the compiler calls for loops over memory. Written as instructions, since it would know the loops again.

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller has said that the bytes are there.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller has said that the bytes are there.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if count == 0 || (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: going upwards, no byte is overwritten before it was read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: going downwards, no byte is overwritten before it was read; the direction is put back.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") to.add(count - 1) => _,
            inout("rsi") from.add(count - 1) => _, options(nostack));
    }
    to
}

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let left: usize;
    // SAFETY: the caller has said that a zero ends the string.
    unsafe {
        asm!("repne scasb", inout("rcx") usize::MAX => left, inout("rdi") string => _, in("al") 0_u8, options(nostack));
    }
    usize::MAX - 1 - left
}
