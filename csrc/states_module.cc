// Many States in one call. Python runs signal handlers, and lets other threads go on, between
// bytecodes only; so what is one call here is one moment for all of them: no Ctrl-C and no other
// thread comes between the first State and the last. Nothing written in Python runs while values
// are stored, and old values are let go of at the very end, for that may run anything. Builds of
// Python without a global lock take `moment` instead.
#include "states_module.h"

#include <structmember.h>

#include <unordered_set>
#include <utility>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

nb::ft_mutex moment;

enum Slot { kRaw, kTree, kFrame };

// What state.py lends at import, and names; kept until the process ends.
struct Bound {
  PyTypeObject* state = nullptr;
  PyObject* names[3] = {};
  PyObject* descriptors[3] = {};
  PyMemberDef* members[3] = {};
  PyObject *active = nullptr, *epoch = nullptr, *tracing = nullptr, *lock = nullptr;
  PyObject* lost = nullptr;
  PyObject *frame = nullptr, *journal = nullptr, *acquire = nullptr, *release = nullptr;
} bound;

nb::object checked(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

void checked(int failed) {
  if (failed < 0) throw nb::python_error();
}

nb::object get(PyObject* of, PyObject* name) { return checked(PyObject_GetAttr(of, name)); }
nb::object get(PyObject* of, const char* name) { return checked(PyObject_GetAttrString(of, name)); }

void set(PyObject* of, PyObject* name, PyObject* value) {
  checked(PyObject_SetAttr(of, name, value));
}

void add_to(PyObject* of, const char* name, long change) {
  const nb::object old = get(of, name), step = checked(PyLong_FromLong(change));
  const nb::object sum = checked(PyNumber_Add(old.ptr(), step.ptr()));
  checked(PyObject_SetAttrString(of, name, sum.ptr()));
}

// A list or tuple, held.
class Items {
 public:
  Items(nb::handle of, const char* what) : held_(checked(PySequence_Fast(of.ptr(), what))) {}
  Py_ssize_t size() const { return PySequence_Fast_GET_SIZE(held_.ptr()); }
  PyObject* operator[](Py_ssize_t k) const { return PySequence_Fast_GET_ITEM(held_.ptr(), k); }

 private:
  nb::object held_;
};

// The slots of States. A class that has something else in their place (a value of its own in each
// thread) is asked through its attributes: those run Python, and so may be interrupted.
class Slots {
 public:
  bool plain(PyObject* state) {
    if (Py_TYPE(state) != seen_) {
      PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(state));
      plain_ = get(type, bound.names[kRaw]).ptr() == bound.descriptors[kRaw];
      seen_ = Py_TYPE(state);
    }
    return plain_;
  }

  nb::object read(PyObject* state, Slot slot) {
    if (!plain(state)) return get(state, bound.names[slot]);
    return checked(PyMember_GetOne(reinterpret_cast<char*>(state), bound.members[slot]));
  }

  bool holds(PyObject* state, Slot slot, PyObject* what) {
#ifndef Py_GIL_DISABLED
    if (plain(state)) return at(state, slot) == what;
#endif
    return read(state, slot).ptr() == what;
  }

  // Writes the value, and gives back the one before.
  nb::object exchange(PyObject* state, Slot slot, nb::object value) {
#ifndef Py_GIL_DISABLED
    if (plain(state) && at(state, slot)) {
      PyObject* old = at(state, slot);
      at(state, slot) = value.release().ptr();
      return nb::steal(old);
    }
#endif
    nb::object old = read(state, slot);
    if (plain(state))
      checked(PyMember_SetOne(reinterpret_cast<char*>(state), bound.members[slot], value.ptr()));
    else set(state, bound.names[slot], value.ptr());
    return old;
  }

 private:
  static PyObject*& at(PyObject* state, Slot slot) {
    char* place = reinterpret_cast<char*>(state) + bound.members[slot]->offset;
    return *reinterpret_cast<PyObject**>(place);
  }

  PyTypeObject* seen_ = nullptr;
  bool plain_ = false;
};

// A State and what its slots are to hold; afterwards, what they held. Null: left alone.
struct Change {
  nb::object state, values[3];
};

void swap(Slots& slots, Change& change, Slot slot) {
  nb::object& value = change.values[slot];
  if (value.is_valid()) value = slots.exchange(change.state.ptr(), slot, value);
}

// One State with slots of its own kind: all of the change, or none of it.
void swap(Slots& slots, Change& change) {
  int slot = kRaw;
  try {
    for (; slot <= kFrame; ++slot) swap(slots, change, Slot(slot));
  } catch (nb::python_error&) {
    while (slot-- > kRaw) swap(slots, change, Slot(slot));
    throw;
  }
}

// All of the changes, or none: first those that can fail, then those that cannot.
void make(std::vector<Change>& changes) {
  Slots slots;
  size_t done = 0;
  try {
    for (; done < changes.size(); ++done)
      if (!slots.plain(changes[done].state.ptr())) swap(slots, changes[done]);
  } catch (nb::python_error&) {
    while (done-- > 0)
      if (!slots.plain(changes[done].state.ptr())) swap(slots, changes[done]);
    throw;
  }
  bool moved = false;
  {
    nb::ft_lock_guard now(moment);
    for (Change& change : changes) {
      if (slots.plain(change.state.ptr())) swap(slots, change);
      const nb::object& before = change.values[kTree];
      moved |= before.is_valid() && !slots.holds(change.state.ptr(), kTree, before.ptr());
    }
  }
  if (moved) add_to(bound.epoch, "value", 1);
}

// Makes changes that must be made. Only States with slots of their own kind can fail, by an
// interrupt: they are tried again.
void make_surely(std::vector<Change>& changes) {
  for (int tries = 3;;) try {
      return make(changes);
    } catch (nb::python_error&) {
      if (--tries == 0) throw;
    }
}

void acquire() { checked(PyObject_CallMethodNoArgs(bound.lock, bound.acquire)); }
void release() { checked(PyObject_CallMethodNoArgs(bound.lock, bound.release)); }

// Waits until no other thread has its tracers in States, and keeps it so.
class NoTraces {
 public:
  ~NoTraces() {
    if (held_) release();
  }
  void wait() {
    if (!held_) acquire();  // an interrupt may end this
    held_ = true;
  }
  void wait_patiently() {
    while (!held_) try {
        wait();
      } catch (nb::python_error&) {  // there is an exception on its way already
      }
  }

 private:
  bool held_ = false;
};

bool settled(Slots& slots, PyObject* state) {
  return slots.holds(state, kFrame, Py_None) || slots.holds(state, kFrame, bound.lost);
}

// What happens within is undone by an exception that leaves it. A transaction within another one
// is part of it, or with `keep` is done for good, with all that came before.
class Transaction {
 public:
  explicit Transaction(bool keep) : keep_(keep) {}

  // Will put this State back; it must be settled.
  void note(PyObject* state, Slots& slots) {
    if (!known_.insert(state).second) return;
    before_.push_back(
        {nb::borrow(state),
         {slots.read(state, kRaw), slots.read(state, kTree), slots.read(state, kFrame)}});
  }

  void note_now(nb::handle state) {
    Slots slots;
    NoTraces traces;
    if (!settled(slots, state.ptr())) traces.wait();
    note(state.ptr(), slots);
  }

  void enter(nb::handle self) {
    nb::object outer = get(bound.active, bound.journal);
    if (!outer.is_none() && !keep_) return;
    if (!get(bound.active, bound.frame).is_none()) return;
    outer_ = std::move(outer);
    set(bound.active, bound.journal, self.ptr());
  }

  void leave(bool failed) {
    if (!outer_.is_valid()) return;
    const nb::object outer = std::move(outer_);
    set(bound.active, bound.journal, outer.ptr());
    std::vector<Change> before = std::move(before_);
    known_.clear();
    if (failed) {
      Slots slots;
      NoTraces traces;
      for (const Change& change : before)
        if (!settled(slots, change.state.ptr())) traces.wait_patiently();
      make_surely(before);
    } else if (!outer.is_none()) {
      nb::inst_ptr<Transaction>(outer)->forget();
    }
  }

 private:
  void forget() {
    const std::vector<Change> before = std::move(before_);
    before_.clear();
    known_.clear();
  }

  const bool keep_;
  nb::object outer_;  // valid from `enter` to `leave`, unless it is part of another one
  std::vector<Change> before_;
  std::unordered_set<PyObject*> known_;
};

// Gives the States their values (and trees, where they are not None), as the active trace sees
// them; outside of traces, also those that had none.
void store_all(const Items& states, const Items& raws, const Items* trees) {
  if (raws.size() != states.size() || (trees && trees->size() != states.size()))
    throw nb::value_error("store: there must be one value, and one tree, for each State");
  const nb::object frame = get(bound.active, bound.frame);
  Slots slots;
  NoTraces traces;
  if (frame.is_none()) {
    for (Py_ssize_t k = 0; k < states.size(); ++k)
      if (!settled(slots, states[k])) traces.wait();
    const nb::object journal = get(bound.active, bound.journal);
    if (!journal.is_none())
      for (Py_ssize_t k = 0; k < states.size(); ++k)
        nb::inst_ptr<Transaction>(journal)->note(states[k], slots);
  }
  std::vector<Change> changes(states.size());
  for (Py_ssize_t k = 0; k < states.size(); ++k) {
    Change& change = changes[k];
    change.state = nb::borrow(states[k]);
    change.values[kRaw] = nb::borrow(raws[k]);
    if (trees && (*trees)[k] != Py_None) change.values[kTree] = nb::borrow((*trees)[k]);
    if (slots.holds(states[k], kFrame, bound.lost)) change.values[kFrame] = frame;
  }
  make(changes);
}

void store(nb::object states, nb::object raws, nb::object trees) {
  const Items s(states, "states"), r(raws, "raws");
  if (trees.is_none()) return store_all(s, r, nullptr);
  const Items t(trees, "trees");
  store_all(s, r, &t);
}

// What the States hold, as seen outside of traces; null if a trace has one of them.
nb::object read_all(const Items& states) {
  Slots slots;
  const nb::object raws = checked(PyList_New(states.size()));
  nb::ft_lock_guard now(moment);
  for (Py_ssize_t k = 0; k < states.size(); ++k) {
    if (!slots.holds(states[k], kFrame, Py_None)) return {};
    PyList_SET_ITEM(raws.ptr(), k, slots.read(states[k], kRaw).release().ptr());
  }
  return raws;
}

// `out, after, new = run(values of written, values of kept, *args, **kwargs)`, and the values after
// it stored: in `written`, and in `fresh`, which had none. NotImplemented, and nothing done, if a
// trace has one of the States.
nb::object call(nb::object run, nb::object written, nb::object kept, nb::object fresh,
                nb::object trees, nb::tuple args, nb::dict kwargs) {
  const nb::object before = read_all(Items(written, "written"));
  const nb::object constant = before.is_valid() ? read_all(Items(kept, "kept")) : nb::object();
  if (!constant.is_valid()) return nb::borrow(Py_NotImplemented);
  const Py_ssize_t n = PyTuple_GET_SIZE(args.ptr());
  std::vector<PyObject*> given = {before.ptr(), constant.ptr()};
  for (Py_ssize_t k = 0; k < n; ++k) given.push_back(PyTuple_GET_ITEM(args.ptr(), k));
  PyObject* named = PyDict_GET_SIZE(kwargs.ptr()) ? kwargs.ptr() : nullptr;
  const nb::object result =
      checked(PyObject_VectorcallDict(run.ptr(), given.data(), given.size(), named));
  const Items parts(result, "a program gives (result, values after it, values of new States)");
  if (parts.size() != 3) throw nb::value_error("a program gives three things");
  if (trees.is_none() && PySequence_Size(parts[2]) == 0) {
    store(written, nb::borrow(parts[1]), trees);
  } else {
    const nb::object all = checked(PySequence_Concat(written.ptr(), fresh.ptr()));
    const nb::object values = checked(PySequence_Concat(parts[1], parts[2]));
    store(all, values, trees);
  }
  return nb::borrow(parts[0]);
}

// Base of a trace in progress. Its end cannot be interrupted half way.
struct FrameScope {};

nb::object enter_frame(nb::object self) {
  acquire();
  add_to(bound.tracing, "depth", 1);
  checked(PyObject_SetAttrString(self.ptr(), "parent", get(bound.active, bound.frame).ptr()));
  set(bound.active, bound.frame, self.ptr());
  return self;
}

void leave_frame(nb::object self, nb::handle, nb::handle, nb::handle) {
  struct Last {
    ~Last() {
      add_to(bound.tracing, "depth", -1);
      release();
    }
  } last;
  const nb::object parent = get(self.ptr(), "parent");
  set(bound.active, bound.frame, parent.ptr());
  const Items saved(get(self.ptr(), "saved"), "saved"), born(get(self.ptr(), "new"), "new");
  std::vector<Change> changes;
  for (Py_ssize_t k = 0; k < saved.size(); ++k) {
    const Items entry(saved[k], "(State, raw, tree, frame)");
    changes.push_back(
        {nb::borrow(entry[0]), {nb::borrow(entry[1]), nb::borrow(entry[2]), nb::borrow(entry[3])}});
  }
  make_surely(changes);
  if (!parent.is_none())
    checked(PyDict_Update(get(parent.ptr(), "relied").ptr(), get(self.ptr(), "relied").ptr()));
  Slots slots;
  for (Py_ssize_t k = 0; k < born.size(); ++k) {
    const nb::object frame = slots.read(born[k], kFrame);
    if (!PyObject_TypeCheck(frame.ptr(), bound.state))          // else it is another State by now
      slots.exchange(born[k], kFrame, nb::borrow(bound.lost));  // until it has a value outside
  }
}

void bind(nb::object state, nb::object active, nb::object epoch, nb::object tracing,
          nb::object lock, nb::object lost) {
  const char* const slots[] = {"_raw", "_tree", "_frame"};
  for (Slot slot : {kRaw, kTree, kFrame}) {
    bound.names[slot] = PyUnicode_InternFromString(slots[slot]);
    PyObject* found = get(state.ptr(), bound.names[slot]).release().ptr();
    if (Py_TYPE(found) != &PyMemberDescr_Type) throw nb::type_error("bind: a State has slots");
    bound.descriptors[slot] = found;
    bound.members[slot] = reinterpret_cast<PyMemberDescrObject*>(found)->d_member;
  }
  bound.state = reinterpret_cast<PyTypeObject*>(state.release().ptr());
  bound.active = active.release().ptr();
  bound.epoch = epoch.release().ptr();
  bound.tracing = tracing.release().ptr();
  bound.lock = lock.release().ptr();
  bound.lost = lost.release().ptr();
  bound.frame = PyUnicode_InternFromString("frame");
  bound.journal = PyUnicode_InternFromString("journal");
  bound.acquire = PyUnicode_InternFromString("acquire");
  bound.release = PyUnicode_InternFromString("release");
}

}  // namespace

void add_states(nb::module_& m) {
  m.def("bind", &bind, "state"_a, "active"_a, "epoch"_a, "tracing"_a, "lock"_a, "lost"_a);
  m.def("store", &store, "states"_a, "raws"_a, "trees"_a.none());
  m.def("call", &call, "run"_a, "written"_a, "kept"_a, "fresh"_a, "trees"_a.none(), "args"_a,
        "kwargs"_a);
  nb::class_<FrameScope>(m, "FrameScope")
      .def(nb::init<>())
      .def("__enter__", &enter_frame)
      .def("__exit__", &leave_frame, "kind"_a.none(), "error"_a.none(), "trace"_a.none());
  nb::class_<Transaction>(m, "Transaction")
      .def(nb::init<bool>(), "keep"_a = false)
      .def("note", &Transaction::note_now, "state"_a)
      .def("__enter__", [](nb::handle self) { nb::inst_ptr<Transaction>(self)->enter(self); })
      .def(
          "__exit__",
          [](Transaction& self, nb::handle kind, nb::handle, nb::handle) {
            self.leave(!kind.is_none());
          },
          "kind"_a.none(), "error"_a.none(), "trace"_a.none());
}
