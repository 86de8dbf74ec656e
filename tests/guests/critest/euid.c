/* Says whose rights it has: set-user-id in its image, so that this is root's unless the
 * container says that nothing gains rights. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("Effective uid: %d\n", (int)geteuid());
    return 0;
}
