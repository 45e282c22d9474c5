# What is compiled from C and C++: the agent, the shim, the addon; and the programs of the tests.
#
#   make            agent, shim, addon (what `npm install` runs)
#   make programs   test/programs/NAME.c -> test/programs/build/NAME, lib/NAME.c -> build/NAME.so
#   make clean

CC ?= cc
PARTS := $(foreach part,agent preload native,$(if $(wildcard $(part)/Makefile),$(part)))

all: $(PARTS)

# The shim and the addon use tables that the agent's build makes.
preload native: $(filter agent,$(PARTS))

$(PARTS):
	$(MAKE) -C $@

# Each test program is one file. Those in STATIC are also linked statically, as NAME-static.
STATIC := counter
PROGRAM_DIR := test/programs
PROGRAM_FLAGS := -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -pthread -Ipreload
PROGRAM_LIBS := -lrt -ldl -lm
PROGRAMS := $(patsubst $(PROGRAM_DIR)/%.c,$(PROGRAM_DIR)/build/%,$(wildcard $(PROGRAM_DIR)/*.c)) \
    $(foreach name,$(STATIC),$(if $(wildcard $(PROGRAM_DIR)/$(name).c),$(PROGRAM_DIR)/build/$(name)-static))
# Libraries that they load with dlopen(3).
PROGRAM_LIBRARIES := $(patsubst $(PROGRAM_DIR)/lib/%.c,$(PROGRAM_DIR)/build/%.so,$(wildcard $(PROGRAM_DIR)/lib/*.c))

programs: $(PROGRAMS) $(PROGRAM_LIBRARIES)

$(PROGRAM_DIR)/build/%.so: $(PROGRAM_DIR)/lib/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(PROGRAM_FLAGS) -fPIC -shared -o $@ $< $(PROGRAM_LIBS)

$(PROGRAM_DIR)/build/%-static: $(PROGRAM_DIR)/%.c $(wildcard $(PROGRAM_DIR)/*.h) Makefile
	@mkdir -p $(@D)
	$(CC) $(PROGRAM_FLAGS) -static -o $@ $< $(PROGRAM_LIBS)

$(PROGRAM_DIR)/build/%: $(PROGRAM_DIR)/%.c $(wildcard $(PROGRAM_DIR)/*.h) Makefile
	@mkdir -p $(@D)
	$(CC) $(PROGRAM_FLAGS) -o $@ $< $(PROGRAM_LIBS)

clean:
	for part in $(PARTS); do $(MAKE) -C $$part clean || exit 1; done
	rm -rf $(PROGRAM_DIR)/build

.PHONY: all programs clean $(PARTS)
