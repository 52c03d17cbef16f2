// XLA handlers of the event-driven product on the CPU: threads, no arithmetic. The arrays and their
// shapes are those of ffi/sparse_operands.h.
#include <atomic>
#include <cstring>
#include <vector>

#include "ffi/registry.h"
#include "ffi/sparse_operands.h"

namespace spikexla {
namespace {

// The first bad source that any thread met.
class BadRow {
 public:
  void note(int64_t source) {
    if (source >= 0) source_.store(source, std::memory_order_relaxed);
  }
  ffi::Error result() const {
    const int64_t source = source_.load();
    if (source < 0) return ffi::Error::Success();
    return invalid("spike_matvec: the row of source " + std::to_string(source) +
                   " is not sorted, or has a target outside [0, n_post). Build the connectivity "
                   "with spikexla.connect, which sorts and checks.");
  }

 private:
  std::atomic<int64_t> source_{-1};
};

template <class T>
const abi::EventLoops<T>& loops() {
  if constexpr (sizeof(T) == 4) return abi::table().sparse->f32;
  else return abi::table().sparse->f64;
}

constexpr int64_t kScanBlock = 1 << 16;     // spikes that one task of a scan looks at
constexpr int64_t kWorthAHelper = 1 << 15;  // additions that pay for waking a thread

int64_t most_threads(const ffi::ThreadPool& pool) {
  return std::min<int64_t>(pool.num_threads(), abi::thread_limit());
}

template <class T>
struct Forward {
  abi::RowsView rows;
  const void* spikes;
  bool events_only;  // spikes are bool
  int64_t n_pre, n_post;
  const T *weights, *init;
  int64_t weight_step;
  T* y;

  int64_t scan(int64_t first, int64_t last, int32_t* ids) const {
    if (events_only)
      return abi::table().sparse->scan_bool(static_cast<const uint8_t*>(spikes), first, last, ids);
    return loops<T>().scan(static_cast<const T*>(spikes), first, last, ids);
  }

  // Targets [first, last): the start value, then every event.
  int64_t deliver(int64_t first, int64_t last, const int32_t* ids, const int64_t* events,
                  int64_t blocks) const {
    if (first == last) return -1;
    const size_t bytes = size_t(last - first) * sizeof(T);
    if (!init) std::memset(y + first, 0, bytes);
    else if (init != y) std::memcpy(y + first, init + first, bytes);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t bad = loops<T>().deliver(
          {rows, weights, weight_step, events_only ? nullptr : static_cast<const T*>(spikes),
           ids + b * kScanBlock, events[b], y, first, last, n_post});
      if (bad >= 0) return bad;
    }
    return -1;
  }

  // One task scans and delivers everything.
  int64_t alone() const {
    thread_local std::vector<int32_t> ids;
    thread_local std::vector<int64_t> events;
    const int64_t blocks = ceil_div(n_pre, kScanBlock);
    lengthen(ids, n_pre + 1);
    lengthen(events, blocks + 1);
    for (int64_t b = 0; b < blocks; ++b)
      events[b] =
          scan(b * kScanBlock, std::min(n_pre, (b + 1) * kScanBlock), ids.data() + b * kScanBlock);
    return deliver(0, n_post, ids.data(), events.data(), blocks);
  }
};

// One product on several threads: tasks first scan blocks of spikes, then serve ranges of targets.
// A task of the second kind waits for those of the first, which running threads hold.
template <class T>
void share(ffi::ThreadPool& pool, const Forward<T>& f, int64_t threads, BadRow& bad) {
  const int64_t blocks = ceil_div(f.n_pre, kScanBlock);
  thread_local std::vector<int32_t> ids_room;
  thread_local std::vector<int64_t> events_room;
  lengthen(ids_room, f.n_pre + 1);
  lengthen(events_room, blocks + 1);
  int32_t* const ids = ids_room.data();
  int64_t* const events = events_room.data();
  const auto scan = [&](int64_t b) {
    const int64_t first = b * kScanBlock;
    events[b] = f.scan(first, std::min(f.n_pre, first + kScanBlock), ids + first);
  };
  int64_t scans = blocks;
  if (blocks <=
      2) {  // the number of events is soon known, and says whether help is worth its price
    int64_t all = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      scan(b);
      all += events[b];
    }
    const double fan = double(f.rows.total) / double(std::max<int64_t>(1, f.n_pre));
    threads = std::min(threads, 1 + int64_t(double(all) * fan) / kWorthAHelper);
    scans = 0;
  }
  // Cut at multiples of a cache line, so that no two threads write to one.
  const int64_t line = 64 / int64_t(sizeof(T));
  const auto cut = [&](int64_t k) {
    return k == threads ? f.n_post : f.n_post * k / threads / line * line;
  };
  std::atomic<int64_t> scanned{0};
  parallel_for(pool, scans + threads, threads - 1, [&](int64_t task) {
    if (task < scans) {
      scan(task);
      scanned.fetch_add(1, std::memory_order_release);
      return;
    }
    Backoff backoff;
    while (scanned.load(std::memory_order_acquire) < scans) backoff.wait();
    bad.note(f.deliver(cut(task - scans), cut(task - scans + 1), ids, events, blocks));
  });
}

ffi::Error run_forward(ffi::ThreadPool& pool, const ForwardCall& call) {
  const SparseOperands& o = call.o;
  Operand init = o.targets;
  init.data = call.has_init ? call.all[0].untyped_data() : nullptr;
  const Batch& batch = o.batch;
  return by_float_type(call.y(), [&](auto zero) {
    using T = decltype(zero);
    const auto item = [&](int64_t b) {
      return Forward<T>{o.rows.at(batch, b),
                        o.events_only ? static_cast<const void*>(batch.at<uint8_t>(o.values, b))
                                      : batch.at<T>(o.values, b),
                        o.events_only,
                        o.rows.n_pre,
                        o.targets.size,
                        batch.at<const T>(o.weights, b),
                        call.has_init ? batch.at<const T>(init, b) : nullptr,
                        o.per_synapse,
                        batch.at<T>(o.targets, b)};
    };
    BadRow bad;
    const int64_t items = batch.size(), threads = most_threads(pool);
    if (items >= threads && items > 1) {
      const double each =
          double(o.rows.n_pre + o.targets.size) / 8 + double(o.rows.indices.size) / 20;
      const int64_t helpers = int64_t(std::min(1e6, double(items) * each / kWorthAHelper));
      parallel_for(pool, items, std::min(helpers, threads - 1),
                   [&](int64_t b) { bad.note(item(b).alone()); });
    } else {
      for (int64_t b = 0; b < items; ++b) share(pool, item(b), threads, bad);
    }
    return bad.result();
  });
}

// Blocks of sources that one task of a transposed product serves, for all items of the batch.
struct SourceBlocks {
  int64_t n_pre, block;
  SourceBlocks(int64_t n_pre, int64_t total)
      : n_pre(n_pre), block(std::max<int64_t>(1, 8192 * n_pre / std::max<int64_t>(1, total))) {}
  int64_t count() const { return ceil_div(n_pre, block); }
};

// Runs body(block, item, view of the rows, first source, last source).
template <class Body>
void over_sources(ffi::ThreadPool& pool, const SparseOperands& o, const Body& body) {
  const Rows& rows = o.rows;
  const int64_t items = o.batch.size();
  const SourceBlocks blocks(rows.n_pre, rows.indices.size);
  const int64_t helpers =
      std::min(most_threads(pool) - 1, times(items, rows.indices.size) / kWorthAHelper);
  parallel_for(pool, items == 0 ? 0 : blocks.count(), helpers, [&](int64_t block) {
    for (int64_t b = 0; b < items; ++b)
      body(block, b, rows.at(o.batch, b), block * blocks.block,
           std::min(rows.n_pre, (block + 1) * blocks.block));
  });
}

ffi::Error run_spikes_vjp(ffi::ThreadPool& pool, const TransposedCall& call) {
  const SparseOperands& o = call.o;
  return by_float_type(call.result(), [&](auto zero) {
    using T = decltype(zero);
    BadRow bad;
    over_sources(
        pool, o, [&](int64_t, int64_t b, const abi::RowsView& view, int64_t first, int64_t last) {
          bad.note(loops<T>().transposed({view, o.batch.at<const T>(o.weights, b), o.per_synapse,
                                          nullptr, o.batch.at<const T>(o.targets, b), first, last,
                                          o.targets.size, false, o.batch.at<T>(o.values, b),
                                          nullptr, nullptr}));
        });
    return bad.result();
  });
}

ffi::Error run_weights_vjp(ffi::ThreadPool& pool, const TransposedCall& call) {
  const SparseOperands& o = call.o;
  const ffi::AnyBuffer out = call.result();
  return by_float_type(out, [&](auto zero) {
    using T = decltype(zero);
    BadRow bad;
    const Batch& batch = o.batch;
    const int64_t items = batch.size();
    // Sums of blocks, added up in one order whoever made them.
    std::vector<T> sums;
    const int64_t blocks = SourceBlocks(o.rows.n_pre, o.rows.indices.size).count();
    if (!o.per_synapse) lengthen(sums, times(blocks, items));
    if (items == 0) std::memset(out.untyped_data(), 0, out.size_bytes());
    over_sources(
        pool, o,
        [&](int64_t block, int64_t b, const abi::RowsView& view, int64_t first, int64_t last) {
          bad.note(loops<T>().transposed({view, nullptr, 0, batch.at<const T>(o.values, b),
                                          batch.at<const T>(o.targets, b), first, last,
                                          o.targets.size, !batch.first_of(o.weights, b), nullptr,
                                          o.per_synapse ? batch.at<T>(o.weights, b) : nullptr,
                                          o.per_synapse ? nullptr : &sums[block * items + b]}));
        });
    for (int64_t b = 0; !o.per_synapse && b < items; ++b) {
      T* total = batch.at<T>(o.weights, b);
      if (batch.first_of(o.weights, b)) *total = T(0);
      for (size_t k = size_t(b); k < sums.size(); k += size_t(items)) *total += sums[k];
    }
    return bad.result();
  });
}

// Checks a call, then runs it.
template <class Call, class Run, class... Of>
ffi::Error handle(ffi::ThreadPool& pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                  const Run& run, Of... of) {
  return guarded("spike_matvec", "Free some.", [&] {
    if (auto error = Call::check_number(args, rets); error.failure()) return error;
    const Call call(args, rets, of...);
    if (call.error.failure()) return call.error;
    poison(args, rets);
    return run(pool, call);
  });
}

ffi::Error forward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return handle<ForwardCall>(pool, args, rets, run_forward);
}
ffi::Error spikes_vjp(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return handle<TransposedCall>(pool, args, rets, run_spikes_vjp, false);
}
ffi::Error weights_vjp(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return handle<TransposedCall>(pool, args, rets, run_weights_vjp, true);
}

template <auto kFunction>
XLA_FFI_Error* handler(XLA_FFI_CallFrame* frame) {
  static auto* bound = ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .RemainingArgs()
                           .RemainingRets()
                           .To(kFunction)
                           .release();
  return bound->Call(frame);
}

}  // namespace

void add_spike_matvec_kernels(std::vector<Kernel>& kernels) {
  const auto add = [&](const char* part, XLA_FFI_Handler* handler) {
    kernels.push_back({std::string("spikexla.spike_matvec.") + part + ".v1", "cpu", "", "", "", "",
                       reinterpret_cast<void*>(handler)});
  };
  add("forward", &handler<&forward>);
  add("spikes_vjp", &handler<&spikes_vjp>);
  add("weights_vjp", &handler<&weights_vjp>);
}

}  // namespace spikexla
