// Takes what a handler of network_run was given, in order, and checks each thing as it is taken.
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cpu/table.h"
#include "ffi/guarded.h"

namespace spikexla {

template <class T>
inline constexpr ffi::DataType kType = std::is_same_v<T, float>      ? ffi::F32
                                       : std::is_same_v<T, double>   ? ffi::F64
                                       : std::is_same_v<T, int32_t>  ? ffi::S32
                                       : std::is_same_v<T, uint16_t> ? ffi::U16
                                                                     : ffi::U32;

// Brings an operand into a result; false if it could not.
using Copy = std::function<bool(void* to, const void* from, size_t bytes)>;

// Takes the numbers of the plan and the arrays, and remembers the first complaint.
class Reader {
 public:
  // Without a `copy`, the arrays lie in this machine's own memory, and can be looked into.
  Reader(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> plan,
         Copy copy = nullptr)
      : args_(args), rets_(rets), plan_(plan), copy_(std::move(copy)) {}

  bool in_own_memory() const { return !copy_; }

  // Complaints are about this part of the network from here on; -1: none of its populations.
  void about(int64_t population) { population_ = population; }

  // The next number of the plan; 0 if it is missing or out of range.
  int64_t number(const char* what, int64_t low, int64_t high) {
    if (at_ >= plan_.size()) return fail("the plan ends, must go on with " + named(what)), 0;
    const int64_t n = plan_[at_++];
    if (n >= low && n <= high) return n;
    fail(named(what) + " is " + std::to_string(n) + ", must be from " + std::to_string(low) +
         " to " + std::to_string(high));
    return 0;
  }
  // How many of something follow: each is a number of the plan or more.
  int64_t count(const char* what) { return number(what, 0, int64_t(plan_.size())); }
  bool flag(const char* what) { return number(what, 0, 1) != 0; }

  // The next result, with the operand that it starts from copied in if XLA did not share the
  // memory.
  template <class T>
  T* in_place(const char* what, std::initializer_list<int64_t> dims) {
    const auto from = next_arg(what);
    auto to = next_ret(what);
    if (!from || !to || !is<T>(*from, what, dims) || !is<T>(*to, what, dims)) return nullptr;
    if (from->untyped_data() != to->untyped_data()) {
      if (!copy_) std::memcpy(to->untyped_data(), from->untyped_data(), from->size_bytes());
      else if (!copy_(to->untyped_data(), from->untyped_data(), from->size_bytes()))
        fail(named(what) + " could not be copied");
    }
    return static_cast<T*>(to->untyped_data());
  }

  // A parameter: one for all neurons or one each.
  template <class T>
  abi::Stream<T> stream(const char* what, int64_t size) {
    const auto b = next_arg(what);
    if (!b) return {};
    const bool one = b->element_count() == 1;
    if (!is<T>(*b, what, {size}, one)) return {};
    return {static_cast<const T*>(b->untyped_data()), one ? 0 : 1, 0};
  }

  // An array of known shape.
  template <class T>
  const T* array(const char* what, std::initializer_list<int64_t> dims) {
    const auto b = next_arg(what);
    return b && is<T>(*b, what, dims) ? static_cast<const T*>(b->untyped_data()) : nullptr;
  }
  // A list of any length.
  template <class T>
  const T* list(const char* what, int64_t* count) {
    const auto b = next_arg(what);
    if (b && b->dimensions().size() == 1) *count = b->dimensions()[0];
    return b && is<T>(*b, what, {*count}) ? static_cast<const T*>(b->untyped_data()) : nullptr;
  }
  // The next array, still unread.
  std::optional<ffi::AnyBuffer> peek(const char* what) {
    if (arg_ < args_.size()) return *args_.get<ffi::AnyBuffer>(arg_);
    return fail("there are " + std::to_string(args_.size()) +
                " arrays, must be one more: " + named(what)),
           std::nullopt;
  }

  template <class T>
  T* result(const char* what, std::initializer_list<int64_t> dims) {
    const auto b = next_ret(what);
    return b && is<T>(*b, what, dims) ? static_cast<T*>(b->untyped_data()) : nullptr;
  }
  // One that nobody wants has no rows, and is null.
  uint32_t* raster(int64_t steps, int64_t words) {
    const auto b = next_ret("the raster");
    if (!b) return nullptr;
    const bool unwanted = has_shape(*b, std::initializer_list<int64_t>{0, words});
    if (!is<uint32_t>(*b, "the raster", {unwanted ? 0 : steps, words})) return nullptr;
    return unwanted ? nullptr : static_cast<uint32_t*>(b->untyped_data());
  }

  // Nothing may be left over.
  void end() {
    about(-1);
    if (at_ != plan_.size() || arg_ != args_.size() || ret_ != rets_.size())
      fail("given " + std::to_string(plan_.size()) + " numbers of a plan, " +
           std::to_string(args_.size()) + " arrays and " + std::to_string(rets_.size()) +
           " results, must be " + std::to_string(at_) + ", " + std::to_string(arg_) + " and " +
           std::to_string(ret_));
  }

  void fail(const std::string& message) {
    if (complaint_.empty()) complaint_ = message;
  }
  bool ok() const { return complaint_.empty(); }
  const std::string& complaint() const { return complaint_; }

 private:
  std::string named(const char* what) const {
    return what + (population_ < 0 ? "" : " of population " + std::to_string(population_));
  }
  std::optional<ffi::AnyBuffer> next_arg(const char* what) {
    const auto b = peek(what);
    ++arg_;
    return b;
  }
  std::optional<ffi::AnyBuffer> next_ret(const char* what) {
    if (ret_ < rets_.size()) return **rets_.get<ffi::AnyBuffer>(ret_++);
    return fail("there are " + std::to_string(rets_.size()) +
                " results, must be one more: " + named(what)),
           std::nullopt;
  }
  template <class T>
  bool is(const ffi::AnyBuffer& b, const char* what, std::initializer_list<int64_t> dims,
          bool any_shape = false) {
    if (b.element_type() == kType<T> && (any_shape || has_shape(b, dims))) return true;
    fail(named(what) + " is " + describe(b) + ", must be " + type_name(kType<T>) + " " +
         shape(std::vector<int64_t>(dims)));
    return false;
  }

  ffi::RemainingArgs args_;
  ffi::RemainingRets rets_;
  ffi::Span<const int64_t> plan_;
  size_t at_ = 0, arg_ = 0, ret_ = 0;
  int64_t population_ = -1;
  Copy copy_;
  std::string complaint_;
};

}  // namespace spikexla
