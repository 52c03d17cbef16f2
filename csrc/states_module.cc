// Many States in one call. Python runs signal handlers, and lets other threads go on, between
// bytecodes only; so what is one call here is one moment for all of them: no Ctrl-C and no other
// thread comes between the first State and the last. Nothing written in Python runs while values
// are stored, and old values are let go of at the very end, for that may run anything. Builds of
// Python without a global lock take `moment` instead.
#include "states_module.h"

#include <structmember.h>

#include <utility>
#include <vector>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

nb::ft_mutex moment;

enum Slot { kRaw, kTree, kFrame };
constexpr const char* kNames[] = {"_raw", "_tree", "_frame"};

// What state.py lends at import; kept until the process ends.
struct Bound {
  PyTypeObject* state = nullptr;
  PyObject* descriptors[3] = {};
  PyMemberDef* members[3] = {};
  PyObject *active = nullptr, *epoch = nullptr, *tracing = nullptr, *lock = nullptr;
  PyObject* lost = nullptr;
} bound;

nb::object checked(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

void checked(int failed) {
  if (failed < 0) throw nb::python_error();
}

nb::object get(PyObject* of, const char* name) { return checked(PyObject_GetAttrString(of, name)); }

void set(PyObject* of, const char* name, PyObject* value) {
  checked(PyObject_SetAttrString(of, name, value));
}

void add_to(PyObject* of, const char* name, long change) {
  const nb::object old = get(of, name), step = checked(PyLong_FromLong(change));
  set(of, name, checked(PyNumber_Add(old.ptr(), step.ptr())).ptr());
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
      plain_ = get(type, kNames[kRaw]).ptr() == bound.descriptors[kRaw];
      seen_ = Py_TYPE(state);
    }
    return plain_;
  }

  nb::object read(PyObject* state, Slot slot) {
    if (!plain(state)) return get(state, kNames[slot]);
    return checked(PyMember_GetOne(reinterpret_cast<char*>(state), bound.members[slot]));
  }

  void write(PyObject* state, Slot slot, nb::handle value) {
    if (!plain(state)) return set(state, kNames[slot], value.ptr());
    checked(PyMember_SetOne(reinterpret_cast<char*>(state), bound.members[slot], value.ptr()));
  }

 private:
  PyTypeObject* seen_ = nullptr;
  bool plain_ = false;
};

// A State and what its slots are to hold; afterwards, what they held. Null: left alone.
struct Change {
  nb::object state, values[3];
};

class Changes {
 public:
  void reserve(size_t n) { all_.reserve(n); }
  void add(Change change) { all_.push_back(std::move(change)); }

  // All of them, or none: first those that can fail, then those that cannot.
  void make() {
    size_t done = 0;
    try {
      for (; done < all_.size(); ++done)
        if (!slots_.plain(all_[done].state.ptr())) swap(all_[done]);
    } catch (nb::python_error&) {
      while (done-- > 0)
        if (!slots_.plain(all_[done].state.ptr())) swap(all_[done]);
      throw;
    }
    bool moved = false;
    {
      nb::ft_lock_guard now(moment);
      for (Change& change : all_) {
        if (slots_.plain(change.state.ptr())) swap(change);
        moved |= change.values[kTree].is_valid() && new_tree(change);
      }
    }
    if (moved) add_to(bound.epoch, "value", 1);
  }

 private:
  void swap(Change& change) {
    int slot = kRaw;
    try {
      for (; slot <= kFrame; ++slot) swap(change, Slot(slot));
    } catch (nb::python_error&) {
      while (slot-- > kRaw) swap(change, Slot(slot));
      throw;
    }
  }

  // Afterwards the slot has the new value, and the change the old one.
  void swap(Change& change, Slot slot) {
    nb::object& value = change.values[slot];
    if (!value.is_valid()) return;
    nb::object old = slots_.read(change.state.ptr(), slot);
    slots_.write(change.state.ptr(), slot, value);
    value = std::move(old);
  }

  bool new_tree(const Change& change) {
    return slots_.read(change.state.ptr(), kTree).ptr() != change.values[kTree].ptr();
  }

  std::vector<Change> all_;
  Slots slots_;
};

void acquire() { checked(PyObject_CallMethod(bound.lock, "acquire", nullptr)); }
void release() { checked(PyObject_CallMethod(bound.lock, "release", nullptr)); }

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

bool settled(nb::handle frame) { return frame.is_none() || frame.ptr() == bound.lost; }

// Remembers in the journal of a transaction what a State holds, once.
void note(PyObject* journal, PyObject* state, Slots& slots) {
  const nb::object key = checked(PyLong_FromVoidPtr(state));
  const int known = PyDict_Contains(journal, key.ptr());
  checked(known);
  if (known) return;
  const nb::tuple entry = nb::make_tuple(nb::borrow(state), slots.read(state, kRaw),
                                         slots.read(state, kTree), slots.read(state, kFrame));
  checked(PyDict_SetItem(journal, key.ptr(), entry.ptr()));
}

// Gives the States their values (and trees, where they are not None), as the active trace sees
// them; outside of traces, also those that had none.
void store_all(const Items& states, const Items& raws, const Items* trees) {
  const nb::object frame = get(bound.active, "frame");
  if (raws.size() != states.size() || (trees && trees->size() != states.size()))
    throw nb::value_error("store: there must be one value, and one tree, for each State");
  Slots slots;
  NoTraces traces;
  if (frame.is_none()) {
    for (Py_ssize_t k = 0; k < states.size(); ++k)
      if (!settled(slots.read(states[k], kFrame))) traces.wait();
    const nb::object journal = get(bound.active, "journal");
    if (!journal.is_none())
      for (Py_ssize_t k = 0; k < states.size(); ++k) note(journal.ptr(), states[k], slots);
  }
  Changes changes;
  changes.reserve(states.size());
  for (Py_ssize_t k = 0; k < states.size(); ++k) {
    Change change{nb::borrow(states[k]), {nb::borrow(raws[k]), {}, {}}};
    if (trees && (*trees)[k] != Py_None) change.values[kTree] = nb::borrow((*trees)[k]);
    if (slots.read(states[k], kFrame).ptr() == bound.lost) change.values[kFrame] = frame;
    changes.add(std::move(change));
  }
  changes.make();
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
  nb::list raws;
  nb::ft_lock_guard now(moment);
  for (Py_ssize_t k = 0; k < states.size(); ++k) {
    if (!slots.read(states[k], kFrame).is_none()) return {};
    raws.append(slots.read(states[k], kRaw));
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
  if (PySequence_Size(parts[2]) == 0 && trees.is_none()) {
    store_all(Items(written, "written"), Items(parts[1], "values"), nullptr);
  } else {
    const nb::object all = checked(PySequence_Concat(written.ptr(), fresh.ptr()));
    const nb::object values = checked(PySequence_Concat(parts[1], parts[2]));
    store(all, values, trees);
  }
  return nb::borrow(parts[0]);
}

void note_now(nb::object states) {
  const nb::object journal = get(bound.active, "journal");
  if (journal.is_none()) return;
  const Items all(states, "states");
  Slots slots;
  NoTraces traces;
  for (Py_ssize_t k = 0; k < all.size(); ++k) {
    if (!settled(slots.read(all[k], kFrame))) traces.wait();
    note(journal.ptr(), all[k], slots);
  }
}

// Puts back entries (State, raw, tree, frame). Only States without slots of their own can fail, by
// an interrupt: they are tried again, and the interrupt is raised when all is done.
void put_back(const Items& entries) {
  Changes changes;
  changes.reserve(entries.size());
  for (Py_ssize_t k = 0; k < entries.size(); ++k) {
    const Items entry(entries[k], "entry");
    changes.add(
        {nb::borrow(entry[0]), {nb::borrow(entry[1]), nb::borrow(entry[2]), nb::borrow(entry[3])}});
  }
  for (int tries = 3;;) try {
      return changes.make();
    } catch (nb::python_error&) {
      if (--tries == 0) throw;
    }
}

// -- scopes: what `with` begins and ends ---------------------------------------------------------

// Base of a trace in progress. Its end cannot be interrupted half way.
struct FrameScope {};

nb::object enter_frame(nb::object self) {
  acquire();
  add_to(bound.tracing, "depth", 1);
  set(self.ptr(), "parent", get(bound.active, "frame").ptr());
  set(bound.active, "frame", self.ptr());
  return self;
}

void leave_frame(nb::object self, nb::args) {
  struct Last {
    ~Last() {
      add_to(bound.tracing, "depth", -1);
      release();
    }
  } last;
  const nb::object parent = get(self.ptr(), "parent");
  set(bound.active, "frame", parent.ptr());
  put_back(Items(get(self.ptr(), "saved"), "saved"));
  if (!parent.is_none())
    checked(PyDict_Update(get(parent.ptr(), "relied").ptr(), get(self.ptr(), "relied").ptr()));
  const Items born(get(self.ptr(), "new"), "new");
  Slots slots;
  for (Py_ssize_t k = 0; k < born.size(); ++k) {
    const nb::object frame = slots.read(born[k], kFrame);
    if (!PyObject_TypeCheck(frame.ptr(), bound.state))  // else it is another State by now
      slots.write(born[k], kFrame, bound.lost);         // until it is given a value outside
  }
}

// What happens within is undone by an exception that leaves it.
struct Transaction {
  explicit Transaction(bool keep) : keep(keep) {}
  const bool keep;  // what happened is kept whatever becomes of a transaction around this one
  nb::object journal, outer;
};

nb::object enter_transaction(nb::pointer_and_handle<Transaction> self) {
  nb::object outer = get(bound.active, "journal");
  const bool inside = !get(bound.active, "frame").is_none();
  if (!inside && (outer.is_none() || self.p->keep)) {
    self.p->outer = outer;
    self.p->journal = nb::dict();
    set(bound.active, "journal", self.p->journal.ptr());
  }
  return nb::borrow(self.h);
}

void leave_transaction(nb::pointer_and_handle<Transaction> self, nb::object type, nb::args) {
  const nb::object journal = std::move(self.p->journal), outer = std::move(self.p->outer);
  if (!journal.is_valid()) return;
  set(bound.active, "journal", outer.ptr());
  if (type.is_none()) {
    if (!outer.is_none()) PyDict_Clear(outer.ptr());
    return;
  }
  NoTraces traces;
  const nb::object entries = checked(PyDict_Values(journal.ptr()));
  const Items all(entries, "entries");
  Slots slots;
  for (Py_ssize_t k = 0; k < all.size(); ++k) {
    const Items entry(all[k], "entry");
    if (!settled(slots.read(entry[0], kFrame))) traces.wait_patiently();
  }
  put_back(all);
}

void bind(nb::handle state, nb::object active, nb::object epoch, nb::object tracing,
          nb::object lock, nb::object lost) {
  bound.state = reinterpret_cast<PyTypeObject*>(nb::borrow(state).release().ptr());
  for (Slot slot : {kRaw, kTree, kFrame}) {
    PyObject* found = get(state.ptr(), kNames[slot]).release().ptr();
    if (Py_TYPE(found) != &PyMemberDescr_Type) throw nb::type_error("bind: a State has slots");
    bound.descriptors[slot] = found;
    bound.members[slot] = reinterpret_cast<PyMemberDescrObject*>(found)->d_member;
  }
  bound.active = active.release().ptr();
  bound.epoch = epoch.release().ptr();
  bound.tracing = tracing.release().ptr();
  bound.lock = lock.release().ptr();
  bound.lost = lost.release().ptr();
}

}  // namespace

void add_states(nb::module_& m) {
  m.def("bind", &bind, "state"_a, "active"_a, "epoch"_a, "tracing"_a, "lock"_a, "lost"_a);
  m.def("store", &store, "states"_a, "raws"_a, "trees"_a.none());
  m.def("call", &call, "run"_a, "written"_a, "kept"_a, "fresh"_a, "trees"_a.none(), "args"_a,
        "kwargs"_a);
  m.def("note", &note_now, "states"_a);
  nb::class_<FrameScope>(m, "FrameScope")
      .def(nb::init<>())
      .def("__enter__", &enter_frame)
      .def("__exit__", &leave_frame);
  nb::class_<Transaction>(m, "Transaction")
      .def(nb::init<bool>(), "keep"_a = false)
      .def("__enter__", &enter_transaction)
      .def("__exit__", &leave_transaction, "type"_a.none(), "rest"_a);
}
