# SPDX-License-Identifier: MIT
# `make` lists the targets. CC selects the compiler, PYTHON the interpreter; output is in build/.
PYTHON ?= python3
NAME := $(notdir $(CC))
OUT = build/c/$(NAME)
OPT = -O2
STRIDE = 1# run every n-th case of a test
SPARSE = 25# the same under a sanitizer
SPARSE_PLANS = 53# and of test_plans
PLANS = $(STRIDE)# run every n-th case of test_plans: the others take less time
SAMPLE = 997# test every n-th float in test_activations
MINUTES = 30# of the soak
SECONDS = 600# of each fuzzer
SEED = 1# of each fuzzer
ISA =# the instruction set to test; empty: all that this machine can run
FLAGS = -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror -g1 $(OPT) -ffp-contract=off \
    -Isrc_c/include $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
COVERAGE =# flags that count the branches taken in the core
FREESTANDING = $(FLAGS) -ffreestanding -fno-stack-protector -fno-pie -fno-pic

X86 := $(filter x86_64 amd64,$(shell uname -m))
ISAS = scalar $(if $(X86),avx2 avx512)
CORE = $(patsubst src_c/%.c,%.o,$(wildcard src_c/core/*/*.c))
LIBRARY = $(addprefix $(OUT)/,$(CORE) $(patsubst src_c/%.c,%.o,$(wildcard src_c/platform/*.c)) \
    $(ISAS:%=isa/%.o) isa/select.o $(if $(SIMDE),tests/simde_shim/cpu_simulated.o,isa/cpu.o))
SUPPORT = $(patsubst %,$(OUT)/tests/%.o,check crew fence masks model_trial network oracle oracle_backward)
HEADERS := $(wildcard src_c/*/*.h src_c/*/*/*.h)
.SECONDARY:
.PHONY: menu check test fuzz fuzz-model fuzz-readers bench asan ubsan sanitize threads tsan coverage soak ulp embedded test-avx512 test-bochs format clean

menu:              ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*##/\1 \t/p' Makefile | expand -t 16

check:             ## what must pass before a commit: formats, types, all tests
	$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check . && $(PYTHON) -m mypy
	$(PYTHON) -m pytest -q

test: $(addprefix $(OUT)/test_,forward backward bits plans products pool workers errors activations dense rows records model) ## the C tests
	$(OUT)/test_errors 1 $(ISA)
	$(OUT)/test_pool $(STRIDE)
	$(OUT)/test_workers 1 $(ISA)
	$(OUT)/test_activations $(SAMPLE) $(ISA)
	$(OUT)/test_dense $(STRIDE) $(ISA)
	$(OUT)/test_rows 1 $(ISA)
	$(OUT)/test_records 1 $(ISA)
	$(OUT)/test_model $(STRIDE) $(ISA)
	$(OUT)/test_products 1 $(ISA)
	$(OUT)/test_bits $(STRIDE) $(ISA)
	$(OUT)/test_plans $(PLANS) $(ISA)
	$(OUT)/test_forward $(STRIDE) $(ISA)
	$(OUT)/test_backward $(STRIDE) $(ISA)

bench:             ## time a few shapes, with their share of the machine's FMA peak
	$(MAKE) OUT=build/c/$(NAME)-O3 OPT=-O3 build/c/$(NAME)-O3/bench_forward
	for shape in "lstm 1 1 128 128" "lstm 26 32 512 256 2 2" "gru 500 1 256 256 2"; do \
	    build/c/$(NAME)-O3/bench_forward $$shape; done

asan:              ## the C tests under the address sanitizer
	$(MAKE) test OUT=build/c/$(NAME)-asan OPT=-O1 SANITIZE=address STRIDE=$(SPARSE) PLANS=$(SPARSE_PLANS)
ubsan:             ## the same under the undefined-behaviour sanitizer
	$(MAKE) test OUT=build/c/$(NAME)-ubsan OPT=-O1 SANITIZE=undefined STRIDE=$(SPARSE) PLANS=$(SPARSE_PLANS)
sanitize:          ## the same under both at once
	$(MAKE) test OUT=build/c/$(NAME)-sanitize OPT=-O1 SANITIZE=address,undefined STRIDE=$(SPARSE) PLANS=$(SPARSE_PLANS)
threads:           ## the C tests with several threads, under the thread sanitizer
	$(MAKE) $(patsubst %,build/c/$(NAME)-tsan/test_%,plans pool workers dense) OUT=build/c/$(NAME)-tsan \
	    OPT=-O1 SANITIZE=thread
	build/c/$(NAME)-tsan/test_pool $(SPARSE)
	build/c/$(NAME)-tsan/test_dense $(SPARSE) $(ISA)
	build/c/$(NAME)-tsan/test_workers 1 $(ISA)
	build/c/$(NAME)-tsan/test_plans 101 $(ISA)
tsan:              ## all C tests under the thread sanitizer
	$(MAKE) test OUT=build/c/$(NAME)-tsan OPT=-O1 SANITIZE=thread STRIDE=$(SPARSE) PLANS=101

coverage:          ## the branches of src_c/core that the C tests take, by file; with gcc and gcov
	rm -f build/c/coverage/core/*/*.gcda
	$(MAKE) test CC=gcc OUT=build/c/coverage OPT=-O1 LDFLAGS=--coverage PLANS=53 \
	    COVERAGE="-O0 --coverage -fprofile-update=atomic -fprofile-abs-path"
	$(PYTHON) tests/support/branch_coverage.py src_c/core build/c/coverage/core/*/*.gcda

soak:              ## check the guarantees on random layers for 30 minutes; MINUTES changes that
	PYTHONPATH=tests/support $(PYTHON) tests/soak.py --minutes $(MINUTES)
ulp: $(OUT)/test_activations ## test sigmoid and tanh of all 2^32 floats, other functions of a part; takes minutes
	nice -n 19 $(OUT)/test_activations 1 $(ISA)

test-avx512:       ## test the AVX-512 kernels on any machine, through SIMDe (libsimde-dev)
	$(MAKE) test OUT=build/c/$(NAME)-simde OPT=-O1 SIMDE=1 ISA=avx512
test-bochs:        ## the same on an emulated CPU; src_c/tests/bochs.sh lists the requirements
	$(MAKE) test OUT=build/c/$(NAME)-static LDFLAGS=-static SAMPLE=99991 STRIDE=99
	sh src_c/tests/bochs.sh build/c/$(NAME)-static

fuzz: fuzz-model fuzz-readers ## both fuzzers, SECONDS each; findings are in build/fuzz
fuzz-model:        ## change .frnn files for SECONDS (600), read and run them in C; with clang's libFuzzer
	$(MAKE) CC=clang OUT=build/c/clang-fuzz OPT=-O1 SANITIZE=address,undefined,fuzzer-no-link \
	    build/c/clang-fuzz/fuzz_model
	mkdir -p build/fuzz/models
	build/c/clang-fuzz/fuzz_model -max_total_time=$(SECONDS) -seed=$(SEED) -max_len=8192 \
	    -artifact_prefix=build/fuzz/ build/fuzz/models tests/fuzz/models
fuzz-readers:      ## change files of every format for SECONDS (600) from SEED (1), read them in Python
	PYTHONPATH=. $(PYTHON) tests/support/fuzz_readers.py $(SECONDS) $(SEED)

embedded: $(ISAS:%=$(OUT)/freestanding/%.o) ## check that the core needs no function but memcpy and the like
	$(CC) $(FREESTANDING) -no-pie src_c/examples/embedded.c $(OUT)/freestanding/scalar.o -o $(OUT)/embedded
	$(OUT)/embedded

format:            ## format the Python files
	$(PYTHON) -m ruff format . && $(PYTHON) -m ruff check --fix .

clean:             ## remove what was built
	rm -rf build/c

# The core and one instruction set in one object.
$(OUT)/freestanding/%.o: $(OUT)/freestanding/isa/%.o $(CORE:%=$(OUT)/freestanding/%)
	ld -r $^ -o $@
	@! nm -u $@ | grep -vwE 'memcpy|memset|memmove' || { echo "$@ needs more than memcpy"; rm $@; exit 1; }

$(OUT)/freestanding/%.o: src_c/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(FREESTANDING) -c $< -o $@

$(OUT)/test_%: $(OUT)/tests/test_%.o $(SUPPORT) $(LIBRARY)
	$(CC) $(FLAGS) $(LDFLAGS) $^ -o $@ -lm -pthread

# Kernels of other instruction sets run what it finds in test_model.
$(OUT)/fuzz_model: $(patsubst %,$(OUT)/tests/%.o,fuzz_model model_trial fence) \
    $(addprefix $(OUT)/,$(CORE) isa/scalar.o)
	$(CC) $(FLAGS) -fsanitize=fuzzer $^ -o $@ -lm

$(OUT)/run_file: $(OUT)/tests/run_file.o $(LIBRARY)
	$(CC) $(FLAGS) $^ -o $@ -lm -pthread

$(OUT)/bench_forward: $(OUT)/bench/bench_forward.o $(LIBRARY)
	$(CC) $(FLAGS) $^ -o $@ -lm -pthread

# Kernels of the fuzzer, and those that this machine cannot run, are built without the sanitizer,
# which would take most of the build's time.
$(if $(findstring fuzzer,$(SANITIZE)),$(OUT)/isa/scalar.o): override SANITIZE =
ifneq ($(SANITIZE),)
ifeq ($(shell grep -m1 -o avx512f /proc/cpuinfo),)
$(OUT)/isa/avx512.o: override SANITIZE =
endif
endif

# SIMDe's headers cause warnings. With -mfma its loops over fmaf use the instruction.
$(if $(SIMDE),$(OUT)/isa/avx512.o): FLAGS += -w -Wno-psabi -Isrc_c/tests/simde_shim -mavx2 -mfma

$(OUT)/core/%.o: FLAGS += $(COVERAGE)

$(OUT)/%.o: src_c/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@
