// Many States read, stored or put back in one call; see state_slots.h for why.
#include "states_module.h"

#include <unordered_set>
#include <utility>
#include <vector>

#include "state_slots.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace states;

bool settled(Slots& slots, PyObject* state) {
  return slots.holds(state, kFrame, Py_None) || slots.holds(state, kFrame, bound.lost);
}

// What happens within is undone by an exception that leaves it. A transaction within another one
// is part of it, or with `keep` is done for good, with all that came before.
class Transaction {
 public:
  explicit Transaction(bool keep) : keep_(keep) {}

  // Will put this State back; it must be settled. Of one with a value in each place, see boxed.py,
  // the value of this place.
  void note(PyObject* state, Slots& slots) {
    const nb::object held = slots.plain(state)
                                ? nb::borrow(state)
                                : checked(PyObject_CallMethod(state, "_box", nullptr));
    if (!known_.insert(held.ptr()).second) return;
    before_.push_back({held,
                       {slots.read(held.ptr(), kRaw), slots.read(held.ptr(), kTree),
                        slots.read(held.ptr(), kFrame)}});
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
  const auto take = [&](Py_ssize_t k) {
    if (!slots.holds(states[k], kFrame, Py_None)) return false;
    PyList_SET_ITEM(raws.ptr(), k, slots.read(states[k], kRaw).release().ptr());
    return true;
  };
  for (Py_ssize_t k = 0; k < states.size(); ++k)
    if (!slots.plain(states[k]) && !take(k)) return {};
  nb::ft_lock_guard now(moment);  // under it nothing runs that is written in Python
  for (Py_ssize_t k = 0; k < states.size(); ++k)
    if (slots.plain(states[k]) && !take(k)) return {};
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
      try {
        add_to(bound.tracing, "depth", -1);
      } catch (nb::python_error& error) {
        error.discard_as_unraisable("spikexla: the end of a trace");
      }
      release();
    }
  } last;
  const nb::object parent = get(self.ptr(), "parent");
  set(bound.active, bound.frame, parent.ptr());
  const Items saved(get(self.ptr(), "saved"), "saved"), born(get(self.ptr(), "new"), "new");
  std::vector<Change> changes;
  for (Py_ssize_t k = 0; k < saved.size(); ++k) {
    const Items entry(saved[k], "(State, raw, tree, frame)");
    if (entry.size() != 4) throw nb::value_error("saved: (State, raw, tree, frame) of each State");
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
