/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Without core/sr_module.h, whose prototypes differ between versions. */

#include "fake_modules.h"

#define MODULES_MAX 8
#define ITEMS_MAX 32

struct item
{
	const char *name;
	unsigned type; /* 0: a function */
	const void *value;
	void (*function)(void);
};

struct module
{
	const char *name;
	struct item items[ITEMS_MAX];
	int count;
};

static struct
{
	struct module modules[MODULES_MAX];
	char set[256];
} fake;

void fake_modules_start(void)
{
	memset(&fake, 0, sizeof(fake));
}

static struct module *find(const char *name)
{
	int i;

	for(i = 0; i < MODULES_MAX; i++) {
		if(fake.modules[i].name && strcmp(fake.modules[i].name, name) == 0)
			return &fake.modules[i];
	}
	return NULL;
}

void fake_module(const char *name)
{
	int i = 0;

	if(find(name))
		return;
	while(fake.modules[i].name)
		i++;
	assert_true(i < MODULES_MAX);
	fake.modules[i].name = name;
	fake.modules[i].count = 0;
}

void fake_module_remove(const char *name)
{
	struct module *m = find(name);

	assert_non_null(m);
	m->name = NULL;
}

static struct item *find_item(struct module *m, const char *name)
{
	int i;

	for(i = 0; m && i < m->count; i++) {
		if(strcmp(m->items[i].name, name) == 0)
			return &m->items[i];
	}
	return NULL;
}

static struct item *add(const char *module, const char *name)
{
	struct module *m;
	struct item *item;

	fake_module(module);
	m = find(module);
	item = find_item(m, name);
	if(item == NULL) {
		assert_true(m->count < ITEMS_MAX);
		item = &m->items[m->count++];
	}
	memset(item, 0, sizeof(*item));
	item->name = name;
	return item;
}

void fake_param(
		const char *module, const char *name, unsigned type, const void *value)
{
	struct item *item = add(module, name);

	item->type = type;
	item->value = value;
}

void fake_param_remove(const char *module, const char *name)
{
	struct module *m = find(module);
	struct item *item = find_item(m, name);

	assert_non_null(item);
	*item = m->items[--m->count];
}

void fake_export(const char *module, const char *name, void (*function)(void))
{
	add(module, name)->function = function;
}

const char *fake_param_set(void)
{
	return fake.set[0] ? fake.set : NULL;
}

/* -------- the core -------- */

void *find_module_by_name(const char *name)
{
	return find(name);
}

const void *find_param_export(
		void *module, const char *name, unsigned types, unsigned *type)
{
	struct item *item;

	assert_non_null(module);
	item = find_item(module, name);
	if(item == NULL || !(item->type & types))
		return NULL;
	*type = item->type;
	return item->value;
}

void *find_export(const char *name, int parameters, int flags)
{
	int i;

	for(i = 0; i < MODULES_MAX; i++) {
		struct item *item =
				fake.modules[i].name ? find_item(&fake.modules[i], name) : NULL;

		if(item && item->function)
			return (void *)item->function;
	}
	return NULL;
}

int set_mod_param(
		const char *module, const char *name, unsigned type, void *value)
{
	snprintf(fake.set, sizeof(fake.set), "%s.%s=%s", module, name,
			(const char *)value);
	return find_item(find(module), name) ? 0 : -1;
}
