// The slots of State objects, and many of them changed in one moment. Python runs signal handlers,
// and lets other threads go on, between bytecodes only; so what is one call of the library is one
// moment for all of them: no Ctrl-C and no other thread comes between the first State and the last.
// Nothing written in Python runs while values are stored, and old values are let go of at the very
// end, for that may run anything. Builds of Python without a global lock take `moment` instead.
#pragma once

#include <nanobind/nanobind.h>

#include <structmember.h>

#include <utility>
#include <vector>

namespace states {

namespace nb = nanobind;

inline nb::ft_mutex moment;

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
};
inline Bound bound;

inline nb::object checked(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

inline void checked(int failed) {
  if (failed < 0) throw nb::python_error();
}

inline nb::object get(PyObject* of, PyObject* name) { return checked(PyObject_GetAttr(of, name)); }
inline nb::object get(PyObject* of, const char* name) {
  return checked(PyObject_GetAttrString(of, name));
}

inline void set(PyObject* of, PyObject* name, PyObject* value) {
  checked(PyObject_SetAttr(of, name, value));
}

inline void add_to(PyObject* of, const char* name, long change) {
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

inline void swap(Slots& slots, Change& change, Slot slot) {
  nb::object& value = change.values[slot];
  if (value.is_valid()) value = slots.exchange(change.state.ptr(), slot, value);
}

// One State with slots of its own kind: all of the change, or none of it.
inline void swap(Slots& slots, Change& change) {
  int slot = kRaw;
  try {
    for (; slot <= kFrame; ++slot) swap(slots, change, Slot(slot));
  } catch (nb::python_error&) {
    while (slot-- > kRaw) swap(slots, change, Slot(slot));
    throw;
  }
}

// All of the changes, or none: first those that can fail, then those that cannot.
inline void make(std::vector<Change>& changes) {
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
  {
    nb::ft_lock_guard now(moment);
    for (Change& change : changes)
      if (slots.plain(change.state.ptr())) swap(slots, change);
  }
  bool moved = false;
  for (const Change& change : changes) {
    const nb::object& before = change.values[kTree];
    moved |= before.is_valid() && !slots.holds(change.state.ptr(), kTree, before.ptr());
  }
  if (moved) {  // as `bump` of switches.py, which an interrupt could end half way
    const nb::object numbers = get(bound.epoch, "_next");
    const nb::object next = checked(PyIter_Next(numbers.ptr()));
    checked(PyObject_SetAttrString(bound.epoch, "value", next.ptr()));
  }
}

// Makes changes that must be made. Only States with slots of their own kind can fail, by an
// interrupt: they are tried again.
inline void make_surely(std::vector<Change>& changes) {
  for (int tries = 3;;) try {
      return make(changes);
    } catch (nb::python_error&) {
      if (--tries == 0) throw;
    }
}

inline void acquire() { checked(PyObject_CallMethodNoArgs(bound.lock, bound.acquire)); }
inline void release() noexcept {
  try {
    checked(PyObject_CallMethodNoArgs(bound.lock, bound.release));
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("spikexla: the end of a trace");
  }
}

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

}  // namespace states
