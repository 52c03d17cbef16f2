// Compares what a function reaches with what was written down of it when it was traced.
//
// The description is a tree of tuples `(kind, slot, ...)` that transform/capture.py builds and
// transform/matching.py defines: this file is its fast spelling, and the tests hold it to that. It
// runs at every call, so it takes a few nanoseconds for each thing that could have changed.
#include "kept_module.h"

#include <cstring>

namespace nb = nanobind;

namespace {

// In the order of transform/matching.py, which has one function for each.
enum Kind : long {
  IS,
  WEAK,
  VALUE,
  ITEMS,
  DICT,
  ARRAY,
  FUNCTION,
  NAMED,
  MODULE,
  SEEN,
  ASKED,
  GUARDED,
  ALL,
  CLASS
};

PyObject* at(PyObject* tuple, Py_ssize_t k) { return PyTuple_GET_ITEM(tuple, k); }

long number(PyObject* tuple, Py_ssize_t k) { return PyLong_AsLong(at(tuple, k)); }

// A new reference to the attribute; null without an error where there is none.
PyObject* attribute(PyObject* x, PyObject* name) {
  PyObject* found = PyObject_GetAttr(x, name);
  if (found == nullptr) PyErr_Clear();
  return found;
}

bool refers_to(PyObject* weak, PyObject* x) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* now = nullptr;
  PyWeakref_GetRef(weak, &now);
  Py_XDECREF(now);  // x is alive, so this compares, no more
  return now == x;
#else
  return PyWeakref_GET_OBJECT(weak) == x;
#endif
}

// A number that is another one after each change of the class or of its bases; 0 if it has none.
unsigned version(PyObject* type) { return ((PyTypeObject*)type)->tp_version_tag; }

bool same_value(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyFloat_CheckExact(a)) {  // 0.0 and -0.0 are equal, but not the same; nan is the same as nan
    const double u = PyFloat_AS_DOUBLE(a), v = PyFloat_AS_DOUBLE(b);
    return std::memcmp(&u, &v, sizeof u) == 0;
  }
  if (PyComplex_CheckExact(a)) {
    const Py_complex u = PyComplex_AsCComplex(a), v = PyComplex_AsCComplex(b);
    return std::memcmp(&u, &v, sizeof u) == 0;
  }
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal == 1;
}

// One comparison. `bound` has, for each slot, the thing that was last found there: a thing that is
// met again is known by its address alone, which is never followed.
class Match {
 public:
  Match(void** bound, size_t slots, bool full) : bound_(bound), slots_(slots), full_(full) {}

  bool operator()(PyObject* node, PyObject* x) {
    const long kind = number(node, 0), slot = number(node, 1);
    if (kind == SEEN) return bound_[slot] == x;
    if (slot >= 0 && size_t(slot) < slots_) bound_[slot] = x;
    switch (kind) {
      case IS:
        return at(node, 2) == x;
      case WEAK:
        return refers_to(at(node, 2), x);
      case VALUE:
        return same_value(at(node, 2), x);
      case ITEMS:
        return items(node, x);
      case DICT:
        return dict(node, x);
      case ARRAY:
        return array(node, x);
      case FUNCTION:
        return function(node, x);
      case NAMED:
        return named(node, x);
      case MODULE:
        return module(node, x);
      case ASKED:
        return asked(node, x);
      case GUARDED:
        return refers_to(at(node, 2), x) && (!full_ || (*this)(at(node, 3), x));
      case ALL:
        return all(node, x);
      case CLASS:
        return class_(node, x);
    }
    return false;
  }

 private:
  bool is_of(PyObject* type, PyObject* x) { return (PyObject*)Py_TYPE(x) == type; }

  // (ITEMS, slot, type, nodes)
  bool items(PyObject* node, PyObject* x) {
    if (!is_of(at(node, 2), x)) return false;
    PyObject* nodes = at(node, 3);
    const Py_ssize_t n = PyTuple_GET_SIZE(nodes);
    const bool is_list = PyList_Check(x);
    for (Py_ssize_t k = 0; k < n; ++k) {
      if ((is_list ? PyList_GET_SIZE(x) : PyTuple_GET_SIZE(x)) != n) return false;
      const nb::object item = nb::borrow(is_list ? PyList_GET_ITEM(x, k) : PyTuple_GET_ITEM(x, k));
      if (!(*this)(at(nodes, k), item.ptr())) return false;
    }
    return (is_list ? PyList_GET_SIZE(x) : PyTuple_GET_SIZE(x)) == n;
  }

  // (DICT, slot, type, nodes of keys, nodes of values), in the order of insertion
  bool dict(PyObject* node, PyObject* x) {
    if (!is_of(at(node, 2), x)) return false;
    PyObject *keys = at(node, 3), *values = at(node, 4);
    const Py_ssize_t n = PyTuple_GET_SIZE(keys);
    if (PyDict_GET_SIZE(x) != n) return false;
    PyObject *key, *value;
    for (Py_ssize_t k = 0, place = 0; PyDict_Next(x, &place, &key, &value); ++k) {
      const nb::object held_key = nb::borrow(key), held = nb::borrow(value);
      if (k >= n || !(*this)(at(keys, k), key) || !(*this)(at(values, k), value)) return false;
      if (PyDict_GET_SIZE(x) != n) return false;
    }
    return true;
  }

  // (ARRAY, slot, type, dtype, shape, bytes)
  bool array(PyObject* node, PyObject* x) {
    static PyObject* const dtype = PyUnicode_InternFromString("dtype");
    static PyObject* const shape = PyUnicode_InternFromString("shape");
    if (!is_of(at(node, 2), x)) return false;
    const nb::object type = nb::steal(attribute(x, dtype)), size = nb::steal(attribute(x, shape));
    if (!type.is_valid() || !same_value(at(node, 3), type.ptr())) return false;
    if (!size.is_valid() || !same_value(at(node, 4), size.ptr())) return false;
    return same_bytes(at(node, 5), x);
  }

  bool same_bytes(PyObject* bytes, PyObject* x) {
    Py_buffer now;
    if (PyObject_GetBuffer(x, &now, PyBUF_C_CONTIGUOUS) == 0) {
      const bool same = now.len == PyBytes_GET_SIZE(bytes) &&
                        std::memcmp(now.buf, PyBytes_AS_STRING(bytes), size_t(now.len)) == 0;
      PyBuffer_Release(&now);
      return same;
    }
    PyErr_Clear();  // not in one piece, or of a type that only numpy knows
    const nb::object now_bytes = nb::steal(PyObject_CallMethod(x, "tobytes", nullptr));
    if (!now_bytes.is_valid()) PyErr_Clear();
    return now_bytes.is_valid() && same_value(bytes, now_bytes.ptr());
  }

  // (FUNCTION, slot, code, node of defaults, of keyword defaults, nodes of cells, names, nodes of
  // globals, slot of the globals, whether they are in it already); None for the node of an empty
  // cell or of a name that is not there
  bool function(PyObject* node, PyObject* x) {
    if (!PyFunction_Check(x) || PyFunction_GET_CODE(x) != at(node, 2)) return false;
    PyObject *defaults = PyFunction_GET_DEFAULTS(x), *named = PyFunction_GET_KW_DEFAULTS(x);
    if (!(*this)(at(node, 3), defaults ? defaults : Py_None)) return false;
    if (!(*this)(at(node, 4), named ? named : Py_None)) return false;
    PyObject *cells = at(node, 5), *closure = PyFunction_GET_CLOSURE(x);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(cells); ++k) {
      const nb::object content = nb::steal(PyCell_Get(PyTuple_GET_ITEM(closure, k)));
      if (!optional(at(cells, k), content.ptr())) return false;
    }
    PyObject* globals = PyFunction_GET_GLOBALS(x);
    void*& bound = bound_[number(node, 8)];
    if (at(node, 9) == Py_True && bound != globals) return false;
    bound = globals;
    return looked_up(at(node, 6), at(node, 7), globals);
  }

  // (NAMED, slot, type, weak reference or None, names, nodes): attributes
  bool named(PyObject* node, PyObject* x) {
    if (!is_of(at(node, 2), x)) return false;
    if (at(node, 3) != Py_None && !refers_to(at(node, 3), x)) return false;
    PyObject *names = at(node, 4), *nodes = at(node, 5);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k) {
      const nb::object found = nb::steal(attribute(x, at(names, k)));
      if (!optional(at(nodes, k), found.ptr())) return false;
    }
    return true;
  }

  // (MODULE, slot, type, weak reference, unwatched names, (names, nodes) of all attributes,
  // (names, nodes) of those that may change unnoticed, node of the class)
  bool module(PyObject* node, PyObject* x) {
    if (!is_of(at(node, 2), x) || !refers_to(at(node, 3), x)) return false;
    const nb::object held = nb::steal(PyObject_GenericGetDict(x, nullptr));
    if (!held.is_valid()) PyErr_Clear();
    if (!held.is_valid() || !PyDict_Check(held.ptr())) return false;
    if (!(*this)(at(node, 7), (PyObject*)Py_TYPE(x))) return false;
    if (!full_) return looked_up(at(at(node, 6), 0), at(at(node, 6), 1), held.ptr());
    PyObject *unwatched = at(node, 4), *names = at(at(node, 5), 0);
    Py_ssize_t count = PyDict_GET_SIZE(held.ptr());
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(unwatched); ++k)
      count -= PyDict_Contains(held.ptr(), at(unwatched, k)) == 1;
    if (count != PyTuple_GET_SIZE(names)) return false;
    return looked_up(names, at(at(node, 5), 1), held.ptr());
  }

  // (CLASS, slot, weak reference, slot of the version, (names, nodes) of all attributes, (names,
  // nodes) of those whose content may change, node for a new version)
  bool class_(PyObject* node, PyObject* x) {
    if (!refers_to(at(node, 2), x)) return false;
    void*& known = bound_[number(node, 3)];
    void* const now = (void*)uintptr_t{version(x)};
    const bool same = now != nullptr && now == known;
    PyObject* watched = at(node, same ? 5 : 4);
    if (!same && !(*this)(at(node, 6), x)) return false;
    PyObject *names = at(watched, 0), *nodes = at(watched, 1);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k) {
      const nb::object found = nb::borrow(_PyType_Lookup((PyTypeObject*)x, at(names, k)));
      if (!optional(at(nodes, k), found.ptr())) return false;
    }
    known = now;
    return true;
  }

  // (ASKED, slot, function, node): what the function says of the thing
  bool asked(PyObject* node, PyObject* x) {
    const nb::object answer = nb::steal(PyObject_CallOneArg(at(node, 2), x));
    if (!answer.is_valid()) PyErr_Clear();
    return answer.is_valid() && (*this)(at(node, 3), answer.ptr());
  }

  bool all(PyObject* node, PyObject* x) {
    PyObject* nodes = at(node, 2);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(nodes); ++k)
      if (!(*this)(at(nodes, k), x)) return false;
    return true;
  }

  bool optional(PyObject* node, PyObject* x) {
    if (node == Py_None || x == nullptr) return node == Py_None && x == nullptr;
    return (*this)(node, x);
  }

  bool looked_up(PyObject* names, PyObject* nodes, PyObject* dict) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(names); ++k) {
      const nb::object found = nb::borrow(PyDict_GetItemWithError(dict, at(names, k)));
      if (!found.is_valid()) PyErr_Clear();
      if (!optional(at(nodes, k), found.ptr())) return false;
    }
    return true;
  }

  void** bound_;
  size_t slots_;
  bool full_;
};

bool matches(nb::handle node, nb::handle x, nb::handle bound, bool full) {
  Py_buffer slots;
  if (PyObject_GetBuffer(bound.ptr(), &slots, PyBUF_WRITABLE) != 0) throw nb::python_error();
  Match match(static_cast<void**>(slots.buf), size_t(slots.len) / sizeof(void*), full);
  const bool same = match(node.ptr(), x.ptr());
  PyBuffer_Release(&slots);
  return same;
}

}  // namespace

void add_kept(nb::module_& m) {
  m.def("matches", &matches);  // by position alone, which is the fast way
}
