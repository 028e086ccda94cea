/* In place of the system's random bytes, where scripts/fuzz repeats a run: std takes the keys of its hash maps from there. */
#include <string.h>

long getrandom(void *bytes, unsigned long length, unsigned flags)
{
    (void)flags;
    memset(bytes, 0x5a, length);
    return (long)length;
}
